"""Lists of names on a command line, separated by commas."""

import argparse
from collections.abc import Callable, Collection


def names_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Make a parser of such lists, for argparse's ``type``; an unknown name is an error that lists the known ones."""

    def read(value: str) -> list[str]:
        names = value.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are: {', '.join(known)}")
        return names

    return read
