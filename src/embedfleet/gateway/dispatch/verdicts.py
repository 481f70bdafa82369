"""What is remembered of texts: that a replica died with them, or that replicas that live could not answer them."""

from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

_MOST: Final = 65_536  # fingerprints remembered: some MB, whatever clients send
# Replicas may have had a fault of their own for a moment: so soon the text is tried again, however often it is asked.
UNANSWERABLE_S: Final = 30.0


class Verdict(IntEnum):
    """What is known of a text, or of several that were asked for together; the greater outweighs the less."""

    NONE = 0
    ACCUSED = 1  # a replica died while it had this, and maybe others
    UNANSWERABLE = 2  # replicas that live gave no answer to it that can be used, one after the other
    GUILTY = 3  # a replica died while it had this and nothing else, after another had died with it


class _Record:
    __slots__ = ("at", "until", "verdict")

    def __init__(self, verdict: Verdict, at: str, until: float) -> None:
        self.verdict = verdict
        self.at = at  # the replica that died last
        self.until = until


class Verdicts:
    """Verdicts by fingerprint: a number for each text, the same wherever the same is asked of the same text.

    Args:
        memory_s: seconds for which a verdict holds after the request was last seen.

    Attributes:
        known: verdicts by fingerprint, the one seen last at the end; mostly there are none.
    """

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self.known: OrderedDict[int, _Record] = OrderedDict()

    def accuse(self, fingerprints: Sequence[int], replica: str, now: float) -> None:
        """A replica died while it had these texts."""
        for one in fingerprints:
            self._note(one, Verdict.ACCUSED, replica, now)

    def acquit(self, fingerprints: Sequence[int]) -> None:
        """A replica had these texts alone and answered."""
        for one in fingerprints:
            known = self.known.get(one)
            if known is not None and known.verdict is Verdict.ACCUSED:
                del self.known[one]

    def convict(self, fingerprints: Sequence[int], replica: str, now: float) -> None:
        """A second replica died over these texts together. Of several it stays unknown which it was."""
        self._note(together(fingerprints), Verdict.GUILTY, replica, now)

    def give_up(self, fingerprints: Sequence[int], now: float) -> None:
        """Replicas that live could not answer these texts together, one after the other."""
        one = together(fingerprints)
        self._note(one, Verdict.UNANSWERABLE, "", now)
        known = self.known[one]
        if known.verdict is Verdict.UNANSWERABLE:
            known.until = now + UNANSWERABLE_S

    def of(self, fingerprints: Sequence[int], now: float) -> Verdict:
        """The worst that is known of a request with these texts; that holds for longer from now on."""
        if not self.known:
            return Verdict.NONE
        found = self._renewed(together(fingerprints), now)
        if len(fingerprints) > 1 and found < Verdict.UNANSWERABLE:
            found = max(found, *(self._renewed(one, now) for one in fingerprints))
        return found

    def died_with(self, fingerprints: Sequence[int]) -> frozenset[str]:
        """Replicas that died with any of these texts, the last one of each."""
        return frozenset(self.known[one].at for one in fingerprints if one in self.known and self.known[one].at)

    def expire(self, now: float) -> None:
        """Forget what has not been seen for long."""
        while self.known and next(iter(self.known.values())).until < now:
            self.known.popitem(last=False)

    def _renewed(self, one: int, now: float) -> Verdict:
        known = self.known.get(one)
        if known is None:
            return Verdict.NONE
        if known.verdict is Verdict.UNANSWERABLE:
            if known.until >= now:
                return known.verdict
            del self.known[one]
            return Verdict.NONE
        known.until = now + self._memory_s
        self.known.move_to_end(one)
        return known.verdict

    def _note(self, one: int, verdict: Verdict, replica: str, now: float) -> None:
        if self._renewed(one, now) is Verdict.NONE:
            if len(self.known) >= _MOST:
                self.known.popitem(last=False)
            self.known[one] = _Record(verdict, replica, now + self._memory_s)
        else:
            known = self.known[one]
            known.verdict, known.at = max(verdict, known.verdict), replica or known.at


def together(fingerprints: Sequence[int]) -> int:
    """One fingerprint for several texts that are asked for together; of one text its own."""
    return fingerprints[0] if len(fingerprints) == 1 else hash(tuple(fingerprints))
