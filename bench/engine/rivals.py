"""Rivals that run already, as ``--rival NAME=URL`` names them."""

import re
import socket
from argparse import ArgumentTypeError
from collections.abc import Sequence
from urllib.parse import urlsplit

from bench.engine.contestants import Server
from bench.measuring.report import missing

_TAKEN = ("engine", "padded", "plain", "infinity", "sentence_transformers")
_CONNECT_S = 5.0
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def read_rival(given: str) -> Server:
    """Read ``NAME=URL``.

    A URL without a path means TEI's ``/embed``. At a path that ends with ``embeddings`` the server speaks OpenAI's
    dialect, at any other TEI's.

    Raises:
        ArgumentTypeError: The name or the URL is wrong.
    """
    name, equals, url = given.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise ArgumentTypeError(f"{given!r} is not NAME=URL, such as tei=http://127.0.0.1:8080")
    if name in _TAKEN:
        raise ArgumentTypeError(f"the name {name!r} is taken by another contestant: choose another one")
    try:
        parts = urlsplit(url)
        is_known = parts.scheme == "http" and parts.hostname and parts.port
    except ValueError:  # the port is no number
        is_known = False
    if not is_known:
        raise ArgumentTypeError(f"{url!r} is not a URL with http and a port, such as http://127.0.0.1:8080")
    path = parts.path.rstrip("/") or "/embed"
    key = "input" if path.endswith("embeddings") else "inputs"
    return Server(name, f"http://{parts.netloc}{path}", key, None)


def require(rivals: Sequence[Server]) -> None:
    """Exit if a rival does not listen; later its vectors are compared too."""
    for rival in rivals:
        parts = urlsplit(rival.url)
        try:
            socket.create_connection((str(parts.hostname), parts.port or 0), _CONNECT_S).close()
        except OSError as error:
            missing(
                f"{rival.name} cannot be reached at {rival.url}: {error}", "start it first, or mend its host or port"
            )
