"""The digest of a model folder's content, which differs for another model and after a change of the folder.

Small files are read whole. Of a large file, which holds weights, the size and samples are read, because reading
gigabytes would take longer than the rest of a start. Training changes nearly every weight, so another model differs in
nearly every sample. Times and inodes are left out: a copy of a model is the same model.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_WHOLE = 32 << 20  # largest file that is read whole, in bytes; the largest tokenizer has 20 million
_SAMPLES, _SAMPLE = 512, 4096  # number of samples of a larger file, and their size in bytes
_IGNORED = {".md", ".gitattributes"}  # notes do not change what is computed


def digest_folder(folder: Path) -> str:
    """Return the digest of a folder's files, by name and content, without hidden files and notes; never fails.

    An unreadable file contributes its error number; the digest changes once the file can be read.
    """
    digest = hashlib.sha256()
    for name, file in sorted(_files(folder)):
        digest.update(repr((name, _digest(file))).encode())
    return digest.hexdigest()[:24]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files with their paths below the folder.

    Links are followed, because a hub snapshot consists of links; a folder that was visited before is skipped.
    """
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
    """Yield the beginning, which names the tensors and their shapes, one sample of each stretch, and the end.

    The place of a sample in its stretch is pseudo-random and depends on the file's size alone. With a fixed step, all
    samples could miss the same tensor in every layer.
    """
    yield stream.read(1 << 20)
    chance, stretch = random.Random(size), size // _SAMPLES  # noqa: S311 - not a secret
    for number in range(_SAMPLES):
        stream.seek(number * stretch + chance.randrange(max(1, stretch - _SAMPLE)))
        yield stream.read(_SAMPLE)
    stream.seek(-_SAMPLE, os.SEEK_END)
    yield stream.read()
