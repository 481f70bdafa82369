"""The file that keeps a cache's answers over restarts.

Format: a line with the version; the header, a JSON object after its length; a record per answer (key, tokens, length of
the reply, reply); a digest (BLAKE2b, 32 bytes) of everything before it. Numbers are little-endian. A file that is
damaged, cut short, foreign or of another version is not used at all.
"""

import logging
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from embedfleet.gateway.cache.answer_cache import Answer
from embedfleet.gateway.cache.answer_keys import KEY_BYTES, SECRET_BYTES
from embedfleet.probe.pool_model import ModelIdentity

log = logging.getLogger(__name__)

_VERSION: Final = b"embedfleet gateway cache 1\n"
_LENGTH: Final = struct.Struct("<I")
_RECORD: Final = struct.Struct(f"<{KEY_BYTES}siI")
_MOST_HEADER_BYTES: Final = 1_000_000
_DIGEST_BYTES: Final = 32


class KeptAnswers(NamedTuple):
    """The content of a file.

    Attributes:
        model: Model of the answers.
        secret: Secret of their keys.
        answers: Keys and answers, the most useful last.
    """

    model: ModelIdentity
    secret: bytes
    answers: list[tuple[bytes, Answer]]


def read_answers(file: Path, most_bytes: int) -> KeptAnswers | None:
    """Read a file; None, with a line in the log, if it is not valid.

    Args:
        file: Path of the file; it need not exist.
        most_bytes: Size of the cache; a file with more bytes of replies is not read on.
    """
    try:
        with file.open("rb") as stream:
            return _read(_Checked(stream), most_bytes)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.error("%s cannot be used, so the cache starts empty: %s", file, error)  # noqa: TRY400 - the message is enough
        return None


def write_answers(file: Path, kept: KeptAnswers) -> None:
    """Write a file atomically; a failure is only logged."""
    temporary = file.with_name(f"{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW  # the folder may be open to others
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
            _write(stream, kept)
        temporary.replace(file)
    except OSError as error:
        log.error("the cache cannot be written to %s: %s", file, error)  # noqa: TRY400 - the message is enough
        with suppress(OSError):
            temporary.unlink()


class _Checked:
    """Reads a file and digests what it reads."""

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._digest = blake2b(digest_size=_DIGEST_BYTES)

    def read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes.

        Raises:
            ValueError: The file ends before.
        """
        data = self._stream.read(size)
        if len(data) < size:
            raise ValueError("it is cut short")
        self._digest.update(data)
        return data

    def check_end(self) -> None:
        """Check the digest and the end of the file.

        Raises:
            ValueError: The file is damaged.
        """
        wanted = self._digest.digest()
        if self._stream.read(_DIGEST_BYTES + 1) != wanted:
            raise ValueError("its digest does not match its content")


def _read(source: _Checked, most_bytes: int) -> KeptAnswers:
    if source.read(len(_VERSION)) != _VERSION:
        raise ValueError("it is no such file, or was written by another version")
    (length,) = _LENGTH.unpack(source.read(_LENGTH.size))
    if length > _MOST_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes")
    header = orjson.loads(source.read(length))
    secret = bytes.fromhex(header["secret"])
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"its secret has {len(secret)} bytes")
    answers: list[tuple[bytes, Answer]] = []
    left = most_bytes
    for _ in range(header["answers"]):
        key, tokens, size = _RECORD.unpack(source.read(_RECORD.size))
        left -= size
        if left < 0:
            raise ValueError(f"it has over {most_bytes} bytes of answers, the size of the cache (gateway_cache_mb)")
        answers.append((key, Answer(source.read(size), tokens)))
    source.check_end()
    return KeptAnswers(ModelIdentity.from_json(header["model"]), secret, answers)


def _write(stream: BufferedWriter, kept: KeptAnswers) -> None:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    head = {"model": kept.model.to_json(), "secret": kept.secret.hex(), "answers": len(kept.answers)}
    header = orjson.dumps(head)
    for data in _pieces(header, kept.answers):
        digest.update(data)
        stream.write(data)
    stream.write(digest.digest())
    stream.flush()
    os.fsync(stream.fileno())  # else a power cut may leave a whole name with half a content


def _pieces(header: bytes, answers: Iterable[tuple[bytes, Answer]]) -> Iterable[bytes]:
    yield _VERSION
    yield _LENGTH.pack(len(header))
    yield header
    for key, answer in answers:
        yield _RECORD.pack(key, answer.tokens, len(answer.reply))
        yield answer.reply
