"""A socket in front of the tests' daemon that answers some requests with an error."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CHUNK = 65_536
_BODY = b'{"message": "a fault of the daemon"}'
_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


@contextmanager
def faulty(daemon: str, folder: Path, pattern: str, *, spared: int = 0) -> Iterator[str]:
    """Run a socket in front of a daemon on which some requests fail, and yield its address.

    Args:
        daemon: Address of the daemon, such as ``unix:///run/docker.sock``.
        folder: Folder for the socket.
        pattern: Regular expression of the request lines that fail.
        spared: Number of matching requests that pass first.
    """
    path = folder / "faulty.sock"
    matching = re.compile(pattern.encode())
    lock, seen = threading.Lock(), 0

    def fails(request: bytes) -> bool:
        nonlocal seen
        if not matching.search(request.partition(b"\r\n")[0]):
            return False
        with lock:
            seen += 1
            return seen > spared

    def serve(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as upstream, suppress(OSError):
            upstream.connect(daemon.removeprefix("unix://"))
            threading.Thread(target=pump, args=(upstream, client), daemon=True).start()
            while data := client.recv(_CHUNK):
                if fails(data):
                    client.sendall(_ERROR)
                    return
                upstream.sendall(data)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=accept, args=(server, serve))
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()


def accept(server: socket.socket, serve: object) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(client,), daemon=True).start()  # type: ignore[arg-type]


def pump(upstream: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while data := upstream.recv(_CHUNK):
            client.sendall(data)
