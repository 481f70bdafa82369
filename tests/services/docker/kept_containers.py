"""A fake Docker daemon with containers that can be stopped, renamed, started and removed."""

from urllib.parse import parse_qs, urlsplit

import orjson

from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON
from embedfleet.http.server import Server
from tests.services.docker.fake_daemon import VERSION


class KeptContainers:
    """A daemon that has the containers of one fleet.

    Args:
        statuses: Status of each container by its name; one whose name has ``gateway`` is a balancer.
        faults: Beginnings of the requests that fail, such as ``POST /containers/a/start``.

    Attributes:
        statuses: Status of each container by its present name.
        asked: Requests other than GET, in order.
    """

    def __init__(self, statuses: dict[str, str], faults: tuple[str, ...] = ()) -> None:
        self.statuses = dict(statuses)
        self.asked: list[str] = []
        self.server = Server(self._handle)
        self._names = {f"id-{name}": name for name in statuses}
        self._faults = faults

    def _handle(self, exchange: Exchange) -> None:
        target = urlsplit(exchange.target.decode())
        method, path = exchange.method.decode(), target.path.removeprefix("/v1.41")
        if method != "GET":
            self.asked.append(f"{method} {path}")
        if f"{method} {path}".startswith(self._faults):
            exchange.respond(500, [JSON], b'{"message": "a fault of the daemon"}')
            return
        status, answer = self._answer(method, path, parse_qs(target.query))
        exchange.respond(status, [JSON], orjson.dumps(answer))

    def _answer(self, method: str, path: str, query: dict[str, list[str]]) -> tuple[int, object]:
        if path == "/version":
            return 200, VERSION
        if path == "/containers/json":
            return 200, [{"Id": each, "Names": [f"/{name}"]} for each, name in self._names.items()]
        _, _, key, *rest = path.split("/")
        found = next((each for each, name in self._names.items() if key in (each, name)), None)
        if found is None:
            return 404, {"message": f"no container {key}"}
        name = self._names[found]
        if method == "DELETE":
            del self._names[found], self.statuses[name]
        elif rest == ["rename"]:
            self._names[found] = query["name"][0]
            self.statuses[self._names[found]] = self.statuses.pop(name)
        elif rest == ["start"]:
            self.statuses[name] = "running"
        elif rest == ["stop"]:
            self.statuses[name] = "exited"
        elif method == "GET":
            return 200, self._inspected(found, name)
        return 200, {}

    def _inspected(self, found: str, name: str) -> dict[str, object]:
        kind = "balancer" if "gateway" in name else "replica"
        return {
            "Id": found,
            "Name": f"/{name}",
            "Image": "i",
            "Config": {"Labels": {"io.embedfleet.service": "s", "io.embedfleet.kind": kind}},
            "State": {"Status": self.statuses[name], "ExitCode": 0, "StartedAt": ""},
            "NetworkSettings": {},
            "HostConfig": {},
        }
