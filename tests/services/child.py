"""A program for drivers to run as a child, which listens, answers and ends as its arguments say, or hangs.

In mode ``answers`` it is a server that hangs on request: after SIGUSR1 it does nothing, after SIGUSR2 it loops.
``loads`` reads the file in ``LOADS`` to its end before it listens.
"""

import argparse
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from embedfleet.cli.child import end_with, port_reporter


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Print no log."""


def hang(number: int, _: object) -> None:
    """Hang and ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while number == signal.SIGUSR2:
        pass
    threading.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["serves", "deaf", "fails", "answers", "loads"])
    parser.add_argument("--parent-pid", type=int, default=0)
    parser.add_argument("--ready-fd", type=int, default=0)
    parser.add_argument("--preferred-port", type=int, default=0)
    parser.add_argument("--admin", default="")
    parser.add_argument("--interpreted-because", default="")
    arguments = parser.parse_args()
    end_with(arguments.parent_pid)
    print(f"{arguments.mode} was started", flush=True)
    if arguments.mode == "fails":
        sys.exit(3)
    obeys = arguments.mode != "deaf"
    signal.signal(signal.SIGTERM, (lambda *_: sys.exit(0)) if obeys else signal.SIG_IGN)
    if arguments.mode == "loads":
        with Path(os.environ["LOADS"]).open("rb", buffering=0) as file:
            while file.read(1_000_000):
                pass
    if arguments.mode in {"answers", "loads"}:
        signal.signal(signal.SIGUSR1, hang)
        signal.signal(signal.SIGUSR2, hang)
        with HTTPServer(("127.0.0.1", arguments.preferred_port), Handler) as server:
            port_reporter(arguments.ready_fd)(server.server_port)
            server.serve_forever()
    with socket.create_server(("127.0.0.1", arguments.preferred_port)) as server:
        port_reporter(arguments.ready_fd)(server.getsockname()[1])
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
