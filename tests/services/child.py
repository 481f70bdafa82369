"""A child for a driver, as a program: listens and ends as it is told, or does not."""

import argparse
import signal
import socket
import sys

from embedfleet.cli.child import end_with, port_teller


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["serves", "deaf", "fails"])
    parser.add_argument("--parent-pid", type=int, default=0)
    parser.add_argument("--ready-fd", type=int, default=0)
    parser.add_argument("--preferred-port", type=int, default=0)
    arguments = parser.parse_args()
    end_with(arguments.parent_pid)
    print(f"{arguments.mode} was started", flush=True)
    if arguments.mode == "fails":
        sys.exit(3)
    obeys = arguments.mode == "serves"
    signal.signal(signal.SIGTERM, (lambda *_: sys.exit(0)) if obeys else signal.SIG_IGN)
    with socket.create_server(("127.0.0.1", arguments.preferred_port)) as server:
        port_teller(arguments.ready_fd)(server.getsockname()[1])
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
