"""The container driver keeps the promises of every driver."""

import asyncio

from embedfleet.control.docker.client import Docker
from embedfleet.control.drivers.container import ContainerDriver
from embedfleet.control.plan.specs import ContainerSpec
from embedfleet.testing import DriverPrograms, check_driver
from tests.services.docker.images import PYTHON
from tests.services.docker.site import Site
from tests.services.fleet import free_ports

SERVE = (
    "import http.server, signal, sys\n"
    "signal.signal(signal.SIGTERM, {} )\n"
    "http.server.HTTPServer(('', 80), http.server.BaseHTTPRequestHandler).serve_forever()\n"
)
OBEY, IGNORE = "lambda *_: sys.exit(0)", "signal.SIG_IGN"


def spec(name: str, code: str) -> ContainerSpec:
    (port,) = free_ports(1)
    return ContainerSpec(
        name,
        "s",
        "replica",
        image=PYTHON,
        entrypoint=("python3", "-u", "-c"),
        arguments=(code,),
        network="driver-net",
        publish=("127.0.0.1", port),
    )


def test_it_keeps_the_promises_of_a_driver(site: Site):
    said: dict[str, list[str]] = {}
    programs = DriverPrograms(
        serves=spec("serves", SERVE.format(OBEY)),
        also_serves=spec("also-serves", SERVE.format(OBEY)),
        deaf=spec("deaf", SERVE.format(IGNORE)),
        fails=spec("fails", "import sys; print('last words'); sys.exit(3)"),
    )

    async def run() -> None:
        docker = Docker.connect(site.env["DOCKER_HOST"])
        driver = ContainerDriver(docker, request="gpu", without_selinux=False, stop_grace_s=5, said=said.__setitem__)
        await check_driver(driver, programs)
        docker.close()

    asyncio.run(run())
    assert "last words" in said["fails"]
