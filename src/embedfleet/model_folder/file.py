"""Checks that a file of a model folder exists and is not a git-lfs pointer."""

from pathlib import Path

from embedfleet.errors import ModelError
from embedfleet.model_folder.file_names import is_git_lfs_pointer

_BEGINNING = 64  # bytes to read, more than the first line of a git-lfs pointer


def has_file(file: Path) -> bool:
    """Whether a file exists; false for a name that no file can have."""
    try:
        return file.is_file()
    except OSError:
        return False


def check_file(file: Path, hint: str = "copy or download the whole folder") -> None:
    """Check that a file of a model folder can be read.

    Args:
        file: File to check.
        hint: Advice for the error message if the file is missing.

    Raises:
        ModelError: The file is missing, a directory, a git-lfs pointer, or unreadable.
    """
    if not has_file(file):
        fault = "is a directory instead of a file" if _is_directory(file) else "is missing"
        raise ModelError(f"{file} {fault}", hint)
    try:
        with file.open("rb") as stream:
            beginning = stream.read(_BEGINNING)
    except OSError as error:
        raise ModelError(
            f"{file} cannot be read: {error.strerror or error}", "allow the user that runs the engine to read it"
        ) from error
    if is_git_lfs_pointer(beginning):
        raise ModelError(
            f"{file} is a git-lfs pointer, not the file itself", "run `git lfs install && git lfs pull` in the folder"
        )


def _is_directory(file: Path) -> bool:
    try:
        return file.is_dir()
    except OSError:
        return False
