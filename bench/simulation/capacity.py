"""What a replica works off when its queue never ends: the measure of load."""

import random
from functools import cache

from bench.workload import WORKLOADS, Cost

_TEXTS = 50_000


@cache
def tokens_per_s(workload: str, cost: Cost) -> float:
    """Useful tokens per second of one replica, its queue full of the workload's texts in the order of their coming.

    Without padding that is a full batch over its time. With padding it is less, by the padding of batches that are
    not sorted; it is counted on texts that are the same each time.
    """
    if not cost.padded:
        return cost.tokens_per_s
    source = random.Random(2)
    draw = WORKLOADS[workload]
    texts: list[int] = []
    while len(texts) < _TEXTS:
        texts += draw(source)[1]
    batch: list[int] = []
    tokens, seconds = 0, 0.0
    for text in texts:
        if batch and (len(batch) + 1) * max(*batch, text) > cost.batch_tokens:
            seconds += cost.seconds(batch)
            batch = []
        batch.append(text)
        tokens += text
    return tokens / (seconds + cost.seconds(batch))
