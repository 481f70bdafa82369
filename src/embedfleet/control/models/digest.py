"""What a model folder holds, as a short digest: two folders of one name, or one folder at two times, are told apart.

Small files count whole. Of a large one, which is weights, its size and samples count: reading gigabytes at every start
would take longer than all else. Training moves nearly every weight, so another model differs in nearly every sample.
Neither times nor inodes count: a copy of the same model is the same model.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_WHOLE = 32 << 20  # bytes of a file that is read whole; the largest tokenizer has 20 million
_SAMPLES, _SAMPLE = 512, 4096  # of a larger one, how many and of how many bytes
_IGNORED = {".md", ".gitattributes"}  # a note changes nothing of what is computed


def digest_folder(folder: Path) -> str:
    """The digest of every file in a folder, by name and content; hidden files and notes left out. It never fails.

    What cannot be read counts as that: once it can be, the digest is another.
    """
    digest = hashlib.sha256()
    for name, file in sorted(_files(folder)):
        digest.update(repr((name, _digest(file))).encode())
    return digest.hexdigest()[:24]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """By their names below the folder; links are followed, as those of a hub's snapshot must be, but in no circle."""
    seen: set[str] = set()
    for above, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(above))
        folders[:] = [name for name in folders if name[0] != "." and os.path.realpath(Path(above, name)) not in seen]
        for name in names:
            file = Path(above, name)
            if name[0] != "." and file.suffix not in _IGNORED and (file.is_file() or not file.exists()):
                yield str(file.relative_to(folder)), file


def _digest(file: Path) -> str:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            digest = hashlib.sha256(str(size).encode())
            for part in [stream.read()] if size <= _WHOLE else _samples(stream, size):
                digest.update(part)
            return digest.hexdigest()
    except OSError as error:
        return f"unreadable {error.errno}"


def _samples(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The head, where the names and shapes of tensors are, the tail, and one part of each stretch between.

    Where in its stretch a part lies follows from the size alone; a fixed step could miss the same tensor in every
    layer.
    """
    yield stream.read(1 << 20)
    chance, stretch = random.Random(size), size // _SAMPLES  # noqa: S311 - no secret
    for number in range(_SAMPLES):
        stream.seek(number * stretch + chance.randrange(max(1, stretch - _SAMPLE)))
        yield stream.read(_SAMPLE)
    stream.seek(-_SAMPLE, os.SEEK_END)
    yield stream.read()
