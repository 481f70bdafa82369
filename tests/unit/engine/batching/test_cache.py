"""The cache of outputs: its bound in bytes, and its keys."""

import numpy as np

from embedfleet.engine.batching.cache import Cache, key_of
from embedfleet.engine.compute.output import Output
from embedfleet.metrics import TEI, Registry
from tests.services.echo import sequence

LONG = range(100, 120)


def test_the_cache_stays_within_its_bytes_and_drops_the_least_recently_used():
    registry = Registry(TEI)
    cache = Cache(3000, registry)
    encoded, vector = sequence(*LONG), np.zeros(100, dtype=np.float32)

    def known(key):
        return cache.find(key, (Output.VECTOR,), encoded) is not None

    for key in (b"a", b"b", b"c", b"c", b"d"):
        cache.keep(key, vector, (Output.VECTOR,), encoded)
    assert registry["te_cache_bytes"].value().value <= 3000
    assert known(b"a")
    cache.keep(b"e", vector, (Output.VECTOR,), encoded)
    assert [known(key) for key in (b"a", b"b", b"c", b"d", b"e")] == [True, False, True, True, True]
    cache.keep(b"f", np.zeros(1000, dtype=np.float32), (Output.VECTOR,), encoded)
    assert not known(b"f"), "larger than the whole"
    assert known(b"a")


def test_keys_differ_by_everything_an_output_depends_on():
    pair = sequence(1, 2)
    typed = type(pair)(pair.ids, np.array([0, 1]), pair.special, 2)
    keys = {
        key_of((Output.VECTOR,), pair),
        key_of((Output.STATES,), pair),
        key_of((Output.VECTOR,), typed),
        key_of((Output.VECTOR,), sequence(1, 2, 0)),
        key_of((Output.VECTOR,), sequence(1)),
    }
    assert len(keys) == 5
    assert key_of((Output.VECTOR,), sequence(1, 2)) in keys
