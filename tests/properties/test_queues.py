"""The queues keep their order and their counts, whatever is pushed, removed or given back."""

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.gateway.dispatch.queues import AccusedQueue, BulkQueue, OnlineQueue
from tests.properties.twins import divisible

requests = st.lists(
    st.builds(
        lambda costs, online, arrived, patience: divisible(costs, online=online, now=arrived, timeout_s=patience),
        st.lists(st.integers(1, 500), min_size=1, max_size=4),
        st.booleans(),
        st.integers(0, 5).map(float),
        st.integers(0, 5).map(float),
    ),
    min_size=1,
    max_size=8,
)
# Places of the chunks to remove after each push.
removals = st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=8, max_size=8)


@given(requests, removals, st.booleans())
def test_online_chunks_leave_by_deadline_or_by_arrival_and_equals_in_order(chunks, out, by_deadline):
    queue = OnlineQueue(by_deadline=by_deadline)
    waiting = []
    for chunk, places in zip(chunks, out, strict=False):
        queue.push(chunk)
        waiting.append(chunk)
        for place in places:
            queue.remove(chunks[place % len(chunks)])
            waiting = [other for other in waiting if other is not chunks[place % len(chunks)]]
        assert set(queue) == set(waiting)
        assert len(queue) == len(waiting)
        assert queue.tokens == sum(other.tokens for other in waiting)
    order = sorted(waiting, key=lambda chunk: chunk.deadline if by_deadline else chunk.arrived)
    for expected in order:
        assert queue.head is expected
        queue.remove(expected)
    assert queue.head is None
    assert queue.tokens == 0


def test_chunks_that_were_taken_out_leave_no_memory_behind():
    """When clients leave, their chunks are removed from the middle; a heap that kept them would grow without end."""
    queue = OnlineQueue()
    first = divisible([1], online=True, now=0.0, timeout_s=1.0)
    queue.push(first)
    for number in range(2000):
        later = divisible([1], online=True, now=float(number), timeout_s=100.0)
        queue.push(later)
        queue.remove(later)
        assert len(queue._heap) <= 2 * len(queue) + 65
    assert queue.head is first


@given(requests, removals)
def test_bulk_requests_leave_in_order_of_arrival_and_returned_chunks_before_them(chunks, out):
    queue = BulkQueue()
    pushed, returned = [], []
    for number, (chunk, places) in enumerate(zip(chunks, out, strict=False)):
        if number % 2:
            queue.give_back(chunk)
            returned.append(chunk)
        else:
            queue.push(chunk)
            pushed.append(chunk)
        for place in places:
            other = chunks[place % len(chunks)]
            queue.remove(other)
            queue.take_back(other)
            pushed = [each for each in pushed if each is not other]
            returned = [each for each in returned if each is not other]
        assert bool(queue) is bool(pushed or returned)
        assert (list(queue.requests), list(queue.returned)) == (pushed, returned)
        assert queue.tokens == sum(each.tokens for each in pushed + returned)


@given(requests, removals)
def test_accused_online_work_is_tried_first_and_then_in_order_of_arrival(chunks, out):
    queue = AccusedQueue()
    waiting = []
    for chunk, places in zip(chunks, out, strict=False):
        chunk.is_on_trial = True
        queue.push(chunk)
        assert not chunk.is_on_trial
        waiting.append(chunk)
        for place in places:
            other = chunks[place % len(chunks)]
            queue.remove(other)
            waiting = [each for each in waiting if each is not other]
        order = [each for each in waiting if each.is_online] + [each for each in waiting if not each.is_online]
        assert list(queue) == order
        assert queue.head is (order[0] if order else None)
        assert (len(queue), queue.tokens) == (len(order), sum(each.tokens for each in order))
