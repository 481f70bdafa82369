"""A row of the table of keys: a key, its meaning, and how our engine and TEI treat it."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a server treats the value of a key."""

    HONOURED = "honoured"
    HARMLESS = "harmless"  # no served number depends on the key
    REFUSED = "refused"  # the note says which values
    MISREAD = "misread"  # only by TEI: it ignores the value silently although the numbers depend on it


HONOURED, HARMLESS = Verdict.HONOURED, Verdict.HARMLESS
REFUSED, MISREAD = Verdict.REFUSED, Verdict.MISREAD


@dataclass(frozen=True, slots=True)
class Key:
    """One key, or several keys that are treated alike.

    Attributes:
        file: Usual name of the file; modules.json may name another folder for it.
        keys: Keys in the file; empty for the file as a whole.
        meaning: What the keys change.
        engine: How our engine treats them.
        note: Details of that; for a refused key, the refused values.
        tei: How TEI 1.9.3 treats them.
        tei_note: Details of that.
        is_corrected: Whether ``up`` gives TEI a corrected copy; the model stays the same.
    """

    file: str
    keys: tuple[str, ...]
    meaning: str
    engine: Verdict
    note: str
    tei: Verdict
    tei_note: str = ""
    is_corrected: bool = False
