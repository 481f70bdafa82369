"""An inference call of a fake replica."""

import time

from bench.fake_tei.calls import Work
from bench.fake_tei.faults import Answer
from embedfleet.http.exchange import Exchange


class Call:
    """An inference call in progress."""

    __slots__ = ("began", "exchange", "gone", "inference_s", "left", "permits", "queue_s", "tokens", "work", "wrong")

    def __init__(self, exchange: Exchange, work: Work, wrong: Answer | None) -> None:
        self.exchange = exchange
        self.work = work
        self.wrong = wrong
        self.began = time.monotonic()
        self.tokens = 0
        self.left = self.permits = len(work.texts)
        self.queue_s = self.inference_s = 0.0  # sums over its texts
        self.gone = False
