"""A row of the table of keys: a key, its meaning, and its treatment by our engine and by TEI."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """A server's treatment of the value of a key."""

    HONOURED = "honoured"
    HARMLESS = "harmless"  # no served number depends on the key
    REFUSED = "refused"  # the note states the refused values
    MISREAD = "misread"  # TEI only: it silently ignores the value although the numbers depend on it


HONOURED, HARMLESS = Verdict.HONOURED, Verdict.HARMLESS
REFUSED, MISREAD = Verdict.REFUSED, Verdict.MISREAD


@dataclass(frozen=True, slots=True)
class Key:
    """One key, or several keys that are treated alike.

    Attributes:
        file: Usual name of the file; modules.json may name another folder for it.
        keys: Keys in the file; empty for the file as a whole.
        meaning: Setting or behaviour that the keys control.
        engine: Treatment by our engine.
        note: Details of the engine's treatment; for a refused key, the refused values.
        tei: Treatment by TEI 1.9.3.
        tei_note: Details of TEI's treatment.
        is_corrected: Whether ``up`` gives TEI a corrected copy of the file; the model's own file stays the same.
    """

    file: str
    keys: tuple[str, ...]
    meaning: str
    engine: Verdict
    note: str
    tei: Verdict
    tei_note: str = ""
    is_corrected: bool = False
