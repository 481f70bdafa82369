"""Records of texts that a replica died with, or that living replicas could not answer, by fingerprint."""

from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

_MOST: Final = 65_536  # records kept: some MB, whatever clients send
UNANSWERABLE_S: Final = 30.0
"""Seconds after which an unanswerable text is tried again, however often it is asked: the replicas' fault may pass."""


class Standing(IntEnum):
    """Standing of a text, or of several that were asked together; the greater outweighs the less."""

    NONE = 0
    ACCUSED = 1  # a replica died while it had this text, and maybe others
    UNANSWERABLE = 2  # living replicas gave no usable answer to it, one after the other
    GUILTY = 3  # a replica died while it had this and nothing else, after another had died with it


class _Record:
    __slots__ = ("died", "standing", "until")

    def __init__(self, standing: Standing, died: str, until: float) -> None:
        self.standing = standing
        self.died = died  # the replica that died with it last
        self.until = until


class TextRecords:
    """Standing of texts by fingerprint, a number that is equal wherever the same is asked about the same text.

    Args:
        memory_s: Seconds for which a record is kept after the text was last seen.

    Attributes:
        known: Records by fingerprint, the one seen last at the end; usually there are none.
    """

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self.known: OrderedDict[int, _Record] = OrderedDict()

    def accuse(self, fingerprints: Sequence[int], replica: str, now: float) -> None:
        """Note that a replica died while it had these texts."""
        for one in fingerprints:
            self._note(one, Standing.ACCUSED, replica, now)

    def acquit(self, fingerprints: Sequence[int]) -> None:
        """Note that a replica had these texts alone and answered."""
        for one in fingerprints:
            record = self.known.get(one)
            if record is not None and record.standing is Standing.ACCUSED:
                del self.known[one]

    def convict(self, fingerprints: Sequence[int], replica: str, now: float) -> None:
        """Note that a second replica died over these texts together; it stays unknown which of them killed it."""
        self._note(together(fingerprints), Standing.GUILTY, replica, now)

    def give_up(self, fingerprints: Sequence[int], now: float) -> None:
        """Note that living replicas could not answer these texts together, one after the other."""
        one = together(fingerprints)
        self._note(one, Standing.UNANSWERABLE, "", now)
        record = self.known[one]
        if record.standing is Standing.UNANSWERABLE:
            record.until = now + UNANSWERABLE_S

    def of(self, fingerprints: Sequence[int], now: float) -> Standing:
        """Return the worst that is known of a request with these texts, and keep these records for longer."""
        if not self.known:
            return Standing.NONE
        worst = self._renewed(together(fingerprints), now)
        if len(fingerprints) > 1 and worst < Standing.UNANSWERABLE:
            worst = max(worst, *(self._renewed(one, now) for one in fingerprints))
        return worst

    def died_with(self, fingerprints: Sequence[int]) -> frozenset[str]:
        """Return the replicas that died with any of these texts, the last one for each text."""
        return frozenset(self.known[one].died for one in fingerprints if one in self.known and self.known[one].died)

    def expire(self, now: float) -> None:
        """Drop records of texts that have not been seen for long."""
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
    """Return one fingerprint for several texts that are asked together; for one text, its own."""
    return fingerprints[0] if len(fingerprints) == 1 else hash(tuple(fingerprints))
