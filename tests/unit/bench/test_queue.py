"""The fake replica's queue forms the batches that TEI's does."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from bench.fake_tei.queue import Entry, Permits, Queue
from embedfleet.simulation.batch_cost import BatchCost


@dataclass(eq=False)
class Client:
    gone: bool = False


def queue_of(tokens, cost, gone=()):
    queue, clients = Queue(cost), [Client(number in gone) for number in range(len(tokens))]
    entries = [Entry(f"t{n}", count, clients[n], 0.0) for n, count in enumerate(tokens)]
    queue.append(entries)
    return queue, entries


def batches(queue):
    found = []
    while batch := queue.next_batch():
        found.append(batch)
    return found


def test_a_batch_takes_texts_from_the_front_until_the_next_does_not_fit():
    queue, _ = queue_of([60, 30, 20, 5, 100], BatchCost(batch_tokens=100))
    assert [[entry.tokens for entry in batch] for batch in batches(queue)] == [[60, 30], [20, 5], [100]]


def test_where_texts_are_padded_each_counts_as_much_as_the_longest():
    queue, _ = queue_of([10, 40, 10, 10], BatchCost(batch_tokens=100, padded=True))
    assert [[entry.tokens for entry in batch] for batch in batches(queue)] == [[10, 40], [10, 10]]


def test_texts_of_clients_that_left_are_dropped_when_a_batch_is_formed():
    queue, entries = queue_of([50, 50, 50], BatchCost(batch_tokens=100), gone={0})
    assert queue.next_batch() == entries[1:]
    assert (queue.dropped, len(queue)) == (1, 0)


@given(st.lists(st.integers(1, 200), max_size=40), st.integers(1, 300), st.booleans(), st.sets(st.integers(0, 39)))
def test_every_text_that_is_wanted_runs_once_in_order_and_batches_are_bounded(tokens, limit, padded, gone):
    cost = BatchCost(batch_tokens=limit, padded=padded)
    queue, entries = queue_of(tokens, cost, gone)
    found = batches(queue)
    assert [entry for batch in found for entry in batch] == [e for e in entries if not e.owner.gone]
    for batch in found:
        counts = [entry.tokens for entry in batch]
        work = max(counts) * len(counts) if padded else sum(counts)
        assert work <= limit or len(batch) == 1


@given(st.integers(0, 20), st.lists(st.integers(1, 10), max_size=20))
def test_permits_are_given_all_or_none_and_come_back(limit, wanted):
    permits = Permits(limit)
    given_out = []
    for count in wanted:
        before = permits.taken
        if permits.take(count):
            given_out.append(count)
        else:
            assert before + count > limit
            assert permits.taken == before
        assert permits.taken == sum(given_out) <= limit
    for count in given_out:
        permits.give_back(count)
    assert permits.taken == 0
