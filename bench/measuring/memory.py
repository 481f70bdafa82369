"""Memory of a server and of its idle connections."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

CONNECTIONS = 1000


def allow_connections(count: int = 4 * CONNECTIONS) -> None:
    """Raise the limit of open files of this process and its future children as far as allowed.

    Raises:
        RuntimeError: The hard limit is too low.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most == resource.RLIM_INFINITY else min(most, 65_536), most))
    if most != resource.RLIM_INFINITY and most < count:
        raise RuntimeError(f"only {most} files may be open: ulimit -n {count}")


def memory_kb(pid: int, of: str = "Pss") -> int:
    """Proportional set size of a process and its running children, in KB.

    Args:
        pid: Process id.
        of: Line of smaps_rollup (proc(5)). In ``Pss``, files count less while other processes map them too, so it
            grows when those end; ``Pss_Anon`` does not.
    """
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(f"{of}:"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(memory_kb(int(child), of) for child in children)


def idle_kb(pid: int, port: int, request: bytes, count: int = CONNECTIONS) -> int:
    """Growth of a server's memory by idle kept-alive connections after one request each, in KB.

    A server that was under load before grows less, because it still holds memory from then.

    Args:
        pid: Process id of the server.
        port: Port of the server.
        request: Complete request whose reply has a Content-Length.
        count: Number of connections.
    """
    before = memory_kb(pid)
    with ExitStack() as stack:
        for _ in range(count):
            wire = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            wire.sendall(request)
            _read_reply(wire)
        return memory_kb(pid) - before


def answers(port: int, request: bytes) -> bool:
    """Whether a server answers a request with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
            wire.sendall(request)
            return _read_reply(wire).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def _read_reply(wire: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(wire)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    while len(body) < length:
        body += _some(wire)
    return head


def _some(wire: socket.socket) -> bytes:
    data = wire.recv(65_536)
    if not data:
        raise RuntimeError("the server closed a connection that it should have kept open")
    return data
