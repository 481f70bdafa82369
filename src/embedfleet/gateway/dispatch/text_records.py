"""Records of texts that a replica died with, or that live replicas could not answer, by fingerprint."""

from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

_MOST: Final = 65_536  # records kept: some MB, whatever clients send
UNANSWERABLE_S: Final = 30.0
"""Seconds after which an unanswerable text is tried again, however often it is requested: the replicas may recover."""


class Standing(IntEnum):
    """Standing of a text, or of several in one chunk; the higher value outweighs the lower."""

    NONE = 0
    ACCUSED = 1  # a replica died while it had this text and perhaps others
    UNANSWERABLE = 2  # several live replicas gave no usable answer to it
    GUILTY = 3  # a second replica died with it, and had nothing else


class _Record:
    __slots__ = ("died", "standing", "until")

    def __init__(self, standing: Standing, died: str, until: float) -> None:
        self.standing = standing
        self.died = died  # the replica that died with it last
        self.until = until


class TextRecords:
    """Standing of texts by fingerprint; equal fingerprints mean the same question about the same text.

    Args:
        memory_s: Seconds for which a record is kept after the text was last seen.

    Attributes:
        known: Records by fingerprint, the last seen at the end; usually empty.
    """

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self.known: OrderedDict[int, _Record] = OrderedDict()

    def accuse(self, fingerprints: Sequence[int], replica: str, now: float) -> None:
        """Record that a replica died while it had these texts."""
        for one in fingerprints:
            self._note(one, Standing.ACCUSED, replica, now)

    def acquit(self, fingerprints: Sequence[int]) -> None:
        """Clear the accusation of texts with which a replica survived."""
        for one in fingerprints:
            record = self.known.get(one)
            if record is not None and record.standing is Standing.ACCUSED:
                del self.known[one]

    def convict(self, fingerprints: Sequence[int], replica: str, now: float) -> None:
        """Record that a second replica died with these texts together, without knowing which text killed it."""
        self._note(together(fingerprints), Standing.GUILTY, replica, now)

    def give_up(self, fingerprints: Sequence[int], now: float) -> None:
        """Record that several live replicas could not answer these texts together."""
        one = together(fingerprints)
        self._note(one, Standing.UNANSWERABLE, "", now)
        record = self.known[one]
        if record.standing is Standing.UNANSWERABLE:
            record.until = now + UNANSWERABLE_S

    def of(self, fingerprints: Sequence[int], now: float) -> Standing:
        """Return the worst standing of the texts, separately and together, and renew their records."""
        if not self.known:
            return Standing.NONE
        worst = self._renewed(together(fingerprints), now)
        if len(fingerprints) > 1 and worst < Standing.UNANSWERABLE:
            worst = max(worst, *(self._renewed(one, now) for one in fingerprints))
        return worst

    def died_with(self, fingerprints: Sequence[int]) -> frozenset[str]:
        """Return the replicas that died with any of these texts; for each text, the last such replica."""
        return frozenset(self.known[one].died for one in fingerprints if one in self.known and self.known[one].died)

    def expire(self, now: float) -> None:
        """Drop the records of texts that were not seen for some time."""
        while self.known and next(iter(self.known.values())).until < now:
            self.known.popitem(last=False)

    def _renewed(self, one: int, now: float) -> Standing:
        record = self.known.get(one)
        if record is None:
            return Standing.NONE
        if record.standing is Standing.UNANSWERABLE:
            if record.until >= now:
                return record.standing
            del self.known[one]
            return Standing.NONE
        record.until = now + self._memory_s
        self.known.move_to_end(one)
        return record.standing

    def _note(self, one: int, standing: Standing, replica: str, now: float) -> None:
        if self._renewed(one, now) is Standing.NONE:
            if len(self.known) >= _MOST:
                self.known.popitem(last=False)
            self.known[one] = _Record(standing, replica, now + self._memory_s)
        else:
            record = self.known[one]
            record.standing, record.died = max(standing, record.standing), replica or record.died


def together(fingerprints: Sequence[int]) -> int:
    """Return one fingerprint for several texts of one chunk; for a single text, its own."""
    return fingerprints[0] if len(fingerprints) == 1 else hash(tuple(fingerprints))
