"""Reads a SentencePiece model file (pieces and normalizer) without the library.

The file is a protobuf message, `ModelProto` of sentencepiece_model.proto (google/sentencepiece 0.2). We need a few of
its fields, for which the few rules of protobuf's encoding are enough.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_UNIGRAM = 1  # TrainerSpec.model_type
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Kinds of pieces that matter."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the vocabulary: a word or a part of one."""

    text: str
    score: float
    kind: int = NORMAL


@dataclass(frozen=True, slots=True)
class SentencePieces:
    """The contents of a SentencePiece file.

    Attributes:
        pieces: in the order of their numbers.
        is_unigram: whether the pieces are chosen by their scores (Kudo 2018).
        unknown: the number of the piece that stands for what no other covers.
        charsmap: the normalizer's compiled rules; empty means none.
    """

    pieces: tuple[Piece, ...]
    is_unigram: bool
    unknown: int
    charsmap: bytes


def read_sentencepieces(data: bytes) -> SentencePieces:
    """Read a file's content.

    Raises:
        ValueError: it is no such message.
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
    """Number and value (an integer, or bytes) of each field of a protobuf message."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        wire = key & 7
        if wire == _VARINT:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            length, place = _varint(data, place)
        elif wire in {_FIXED32, _FIXED64}:
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"it has a field of wire type {wire}")
        if place + length > len(data):
            raise ValueError(f"it ends {place + length - len(data)} bytes too early")
        yield key >> 3, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A protobuf varint, and the position behind it."""
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        shift += 7
        if byte < 0x80:
            return value, place
    raise ValueError("it ends within a number")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("it has a number where a message should be")  # noqa: TRY004 - of the file, not of our call
    return value


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("it has bytes where a number should be")  # noqa: TRY004 - likewise
    return value
