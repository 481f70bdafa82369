"""Reader of the pieces and the normalizer in a SentencePiece model file, without the library.

The file is a protobuf message, `ModelProto` of sentencepiece_model.proto (google/sentencepiece 0.2). Only a few fields
are needed, and a few rules of protobuf's encoding suffice to read them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_UNIGRAM = 1  # TrainerSpec.model_type
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Types of pieces that a tokenizer must tell apart."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the vocabulary: a word or part of a word."""

    text: str
    score: float
    kind: int = NORMAL


@dataclass(frozen=True, slots=True)
class SentencePieces:
    """The contents of a SentencePiece file.

    Attributes:
        pieces: Pieces in the order of their ids.
        is_unigram: Whether it is a unigram model, which chooses pieces by their scores (Kudo 2018).
        unknown: Id of the piece for text that no other piece covers.
        charsmap: Compiled rules of the normalizer; empty for none.
    """

    pieces: tuple[Piece, ...]
    is_unigram: bool
    unknown: int
    charsmap: bytes


def read_sentencepieces(data: bytes) -> SentencePieces:
    """Parse the content of a SentencePiece file.

    Raises:
        ValueError: The content is not a SentencePiece file.
    """
    pieces: list[Piece] = []
    kind, unknown, charsmap = _UNIGRAM, 0, b""
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(_message(value)))
        elif number == 2:
            trainer = dict(_fields(_message(value)))
            kind, unknown = _whole(trainer.get(3, _UNIGRAM)), _whole(trainer.get(40, 0))
        elif number == 3:
            charsmap = _message(dict(_fields(_message(value))).get(2, b""))
    if not pieces:
        raise ValueError("it has no pieces")
    return SentencePieces(tuple(pieces), kind == _UNIGRAM, unknown, charsmap)


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    (score,) = struct.unpack("<f", _message(fields.get(2, bytes(4))))
    return Piece(_message(fields.get(1, b"")).decode("utf-8"), score, _whole(fields.get(3, NORMAL)))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value, an integer or bytes, of each field of a protobuf message."""
    offset = 0
    while offset < len(data):
        key, offset = _varint(data, offset)
        wire = key & 7
        if wire == _VARINT:
            value, offset = _varint(data, offset)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            length, offset = _varint(data, offset)
        elif wire in {_FIXED32, _FIXED64}:
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"it has a field of wire type {wire}")
        if offset + length > len(data):
            raise ValueError(f"it ends {offset + length - len(data)} bytes too early")
        yield key >> 3, data[offset : offset + length]
        offset += length


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """Read a protobuf varint, and return it with the offset after it."""
    value = shift = 0
    while offset < len(data) and shift < 64:
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        offset += 1
        shift += 7
        if byte < 0x80:
            return value, offset
    raise ValueError("it ends within a number")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("it has a number instead of a message")  # noqa: TRY004 - a fault of the file, not of the call
    return value


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("it has bytes instead of a number")  # noqa: TRY004 - a fault of the file, not of the call
    return value
