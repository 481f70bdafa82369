"""The gateway's cache holds its bound, returns what was put, and keeps texts that come again through any bulk."""

import tracemalloc
from hashlib import blake2b

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from embedfleet.gateway.cache.answer_cache import OVERHEAD_BYTES, Answer, AnswerCache

SPACE = 40_000


def key_of(number):
    return blake2b(b"%d" % number, digest_size=16).digest()


def reply_of(number, size=0):
    return b"[%d]" % number + b"x" * size


def is_there(cache, number):
    return key_of(number) in dict(cache.items())


class Used(RuleBasedStateMachine):
    """A cache that is used in any way."""

    def __init__(self):
        super().__init__()
        self.cache = AnswerCache(SPACE)
        self.put = {}

    @rule(number=st.integers(0, 400), size=st.integers(0, 5000))
    def keep(self, number, size):
        before = self.cache.find(key_of(number))
        self.cache.put(key_of(number), Answer(reply_of(number, size), number))
        if before is None:
            self.put[number] = size

    @rule(number=st.integers(0, 400))
    def find(self, number):
        found = self.cache.find(key_of(number))
        if found is not None:
            assert (found.reply, found.tokens) == (reply_of(number, self.put[number]), number)

    @rule(start=st.integers(1000, 9000), count=st.integers(1, 300))
    def bulk(self, start, count):
        for number in range(start, start + count):
            self.cache.put(key_of(number), Answer(reply_of(number), 1))
            self.put[number] = 0

    @rule()
    def clear(self):
        self.cache.clear()
        assert not len(self.cache)
        assert not self.cache.used_bytes

    @invariant()
    def the_bound_holds(self):
        kept = dict(self.cache.items())
        assert len(kept) == len(self.cache)
        assert sum(len(answer.reply) + OVERHEAD_BYTES for answer in kept.values()) <= self.cache.used_bytes <= SPACE


TestUsed = Used.TestCase
TestUsed.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


@given(
    hot=st.integers(1, 60),
    size=st.integers(0, 150),
    bulk=st.integers(100, 3000),
    bulk_size=st.integers(0, 3000),
    repeats=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_texts_that_came_again_outlive_any_number_of_texts_that_come_once(hot, size, bulk, bulk_size, repeats):
    cache = AnswerCache(SPACE)
    for number in range(hot):
        cache.put(key_of(number), Answer(reply_of(number, size), 1))
        for _ in range(repeats):
            assert cache.find(key_of(number))
    for number in range(bulk):
        cache.put(key_of(10_000 + number), Answer(reply_of(number, bulk_size), 1))
    assert [number for number in range(hot) if not is_there(cache, number)] == []


@given(st.integers(2, 20))
@settings(max_examples=10, deadline=None)
def test_texts_that_keep_coming_outlive_bulk_that_comes_twice(every):
    cache = AnswerCache(SPACE)
    hot, lost = range(20), 0
    for number in hot:
        cache.put(key_of(number), Answer(reply_of(number), 1))
        cache.find(key_of(number))
    for number in [*range(1000, 1200)] * 2:
        cache.put(key_of(number), Answer(reply_of(number), 1))
        if number % every == 0:
            for one in hot:
                lost += cache.find(key_of(one)) is None
    assert lost == 0


def test_a_text_that_was_dropped_and_soon_comes_again_is_kept_with_those_that_stay():
    cache = AnswerCache(SPACE)
    for number in range(200):  # the cache is full
        cache.put(key_of(number), Answer(reply_of(number), 1))
    dropped = [number for number in range(200) if not is_there(cache, number)][-1]
    cache.put(key_of(dropped), Answer(reply_of(dropped), 1))
    for number in range(1000, 1500):
        cache.put(key_of(number), Answer(reply_of(number), 1))
    assert is_there(cache, dropped)


def test_an_answer_that_is_larger_than_a_tenth_of_the_cache_is_not_kept():
    cache = AnswerCache(SPACE)
    cache.put(key_of(1), Answer(b"x" * (SPACE // 10), 1))
    assert not cache.find(key_of(1))


def test_the_counted_bytes_are_those_that_python_takes():
    count = 20_000
    for size, least in ((0, 0.5), (4000, 0.9)):
        tracemalloc.start()
        cache = AnswerCache(count * (OVERHEAD_BYTES + size) * 2)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            cache.put(key_of(number), Answer(b"%*d" % (size + 1, number), 1000 + number))
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert len(cache) == count
        assert least * cache.used_bytes <= taken <= cache.used_bytes
