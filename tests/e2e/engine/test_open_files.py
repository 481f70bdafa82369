"""Clients beyond an engine's limit of open files get an error, and earlier ones are served."""

from http import HTTPStatus

from embedfleet.system.kernel_limits import client_connections, raise_open_files
from tests.services.gateway import run
from tests.services.kept import Client
from tests.services.verb import verb

FILES = 256


def test_clients_beyond_the_open_files_are_told_to_come_again():
    raise_open_files()

    async def test():
        with verb("engine", "--model", "builtin", files=(FILES, FILES)) as engine:
            early = await Client.connect(engine.port)
            idle = [await Client.connect(engine.port) for _ in range(400)]
            assert await early.ask() == HTTPStatus.OK
            for client in idle[client_connections(FILES) :]:
                assert (await client.answer())[0] == HTTPStatus.SERVICE_UNAVAILABLE
            for client in [early, *idle]:
                await client.close()
            assert await engine.end() == 0

    run(test)
