"""Checks that a file of a model folder is there, and is no git-lfs pointer."""

from pathlib import Path

from embedfleet.errors import ModelError

_LFS_POINTER = b"version https://git-lfs"


def has_file(file: Path) -> bool:
    """Whether there is a file of that name; False for a name that no file can have."""
    try:
        return file.is_file()
    except OSError:
        return False


def check_file(file: Path, hint: str = "copy or download the whole folder") -> None:
    """See that a file can be read.

    Args:
        file: of the model folder.
        hint: what to do if it is missing.

    Raises:
        ModelError: it is missing, a directory, a git-lfs pointer, or may not be read.
    """
    if not has_file(file):
        what = "is a directory where a file should be" if _is_directory(file) else "is missing"
        raise ModelError(f"{file} {what}", hint)
    try:
        with file.open("rb") as stream:
            begins = stream.read(len(_LFS_POINTER))
    except OSError as error:
        raise ModelError(
            f"{file} cannot be read: {error.strerror or error}", "give the user that runs the engine leave to read it"
        ) from error
    if begins == _LFS_POINTER:
        raise ModelError(
            f"{file} is a git-lfs pointer, not the file itself", "run `git lfs install && git lfs pull` in the folder"
        )


def _is_directory(file: Path) -> bool:
    try:
        return file.is_dir()
    except OSError:
        return False
