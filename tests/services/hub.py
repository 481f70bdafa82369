"""A model hub on loopback, with the routes that huggingface_hub uses to list and download a repository."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingTCPServer):  # not HTTPServer, which resolves its own name
    """A server of one repository.

    Attributes:
        given: Paths whose content was sent.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, name: str, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.name = name
        self.files = {
            file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
        }
        self.given: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, has_body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        listing, content = f"/api/models/{hub.name}", f"/{hub.name}/resolve/{COMMIT}/"
        name = path.removeprefix(content)
        if path in {listing, f"{listing}/revision/{COMMIT}", f"{listing}/revision/main"}:
            siblings = [{"rfilename": name} for name in hub.files]
            self._send(json.dumps({"id": hub.name, "sha": COMMIT, "siblings": siblings}).encode(), has_body=has_body)
        elif path.startswith(f"{listing}/tree/"):
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in hub.files.items()]
            self._send(json.dumps(tree).encode(), has_body=has_body)
        elif path.startswith(content) and name in hub.files:
            if has_body:
                hub.given.append(name)
            self._send(hub.files[name], has_body=has_body)
        else:
            self.send_error(404)

    def _send(self, data: bytes, *, has_body: bool) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.send_header("etag", f'"{sha256(data).hexdigest()}"')
        self.send_header("x-repo-commit", COMMIT)
        self.end_headers()
        if has_body:
            self.wfile.write(data)


@contextmanager
def serving_hub(name: str, folder: Path) -> Iterator[Hub]:
    """Run a hub that serves a folder as a repository."""
    hub = Hub(name, folder)
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


if __name__ == "__main__":
    Hub(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])).serve_forever()
