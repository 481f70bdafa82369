"""Splitting of requests into parts."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.dispatch.request import Handle, Request, SplitState
from embedfleet.gateway.dispatch.splitting import (
    PartBounds,
    by_length,
    fewest_parts,
    split_evenly,
    split_next,
    split_state_of,
    staggered,
)

NOW = 100.0


def state(*costs: int, order=None) -> SplitState:
    return SplitState(costs, [4 * cost for cost in costs], order or range(len(costs)))


def test_a_part_ends_at_its_limit_of_tokens_texts_or_bytes():
    assert split_next(state(40, 40, 40, 40, 40), PartBounds(100, 32, 10**6)) == ([0, 1], 80)
    assert split_next(state(*[1] * 9), PartBounds(4, 2, 10**6)) == ([0, 1], 2)
    assert split_next(state(10, 10, 10, 10, 10, 10), PartBounds(30, 32, 50)) == ([0], 10)


def test_a_text_over_every_limit_is_a_part_of_its_own():
    assert split_next(state(900, 900), PartBounds(100, 32, 10)) == ([0], 900)


def test_a_small_remainder_is_added_to_the_part():
    assert split_next(state(50, 50, 20), PartBounds(100, 32, 10**6)) == ([0, 1, 2], 120)


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(1, 40_000)), min_size=2, max_size=300),
    st.sampled_from([13, 200, 5_000, 60_000, 900_000, 2_000_000]),
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 32)), min_size=1, max_size=20),
)
def test_all_parts_together_have_at_most_twice_the_bytes_of_the_request(texts, frame_bytes, rooms):
    """A former version made 300 parts of 2 MB from 300 tiny texts and an ignored field of 2 MB: 642 MB, not 31."""
    costs, sizes = [cost for cost, _ in texts], [size for _, size in texts]
    received = frame_bytes + sum(sizes)

    class Framed(Handle):
        def split(self, *, by_length):
            return SplitState(
                costs, sizes, (by_length and range(len(costs))[::-1]) or range(len(costs)), 0, frame_bytes
            )

    asked = Request(
        Framed(),
        tokens=sum(costs),
        texts=len(texts),
        size_bytes=received,
        is_online=True,
        now=NOW,
        timeout_s=60,
    )
    abilities = Capabilities(batch_texts=32, body_bytes=1_500_000)
    made = split_state_of(asked, abilities, by_length=False)
    if made is None:
        fewest = fewest_parts(sizes, frame_bytes, 32, 1_500_000)
        assert fewest * frame_bytes + sum(sizes) > max(2 * received, 256_000) - frame_bytes, "it could have been split"
        return
    sent, parts = 0, 0
    while not made.is_complete:
        tokens, _ = rooms[parts % len(rooms)]
        items, _ = split_next(made, PartBounds.of(tokens, abilities))
        part = frame_bytes + sum(sizes[item] for item in items)
        assert len(items) <= 32
        assert len(items) == 1 or part <= 1_500_000
        sent += part
        parts += 1
    assert sent <= max(2 * received, 256_000)
    assert made.spare_parts >= 0


def test_even_parts_have_like_sizes_and_contain_every_text():
    chunks = split_evenly(state(*[100] * 90), 4, Capabilities())
    assert [item for items, _ in chunks for item in items] == list(range(90))
    assert max(tokens for _, tokens in chunks) <= 1.3 * min(tokens for _, tokens in chunks)


def test_texts_are_ordered_by_length():
    assert by_length([5, 90, 7]) == [1, 2, 0]


COST = BatchCost(a_s=0.0, b_s=0.001)


def test_a_part_ends_between_the_ends_of_others():
    assert staggered(1000, 0.0, [], COST) == 1000
    assert staggered(1000, 0.0, [1.0], COST) == 600  # the least size, which ends farthest from the other end
    assert staggered(1000, 0.0, [0.5], COST) == 1000
    assert staggered(1000, 0.0, [0.25, 0.5, 0.75], COST) == 1000


def test_replicas_that_began_together_soon_end_one_after_the_other():
    ends = [1.0, 1.0, 1.0, 1.0]
    for _ in range(6):
        for place in range(4):
            others = [end for number, end in enumerate(ends) if number != place]
            ends[place] += COST.b_s * staggered(1000, ends[place], others, COST)
    turns = sorted(end % 1.0 for end in ends)
    gaps = [later - sooner for sooner, later in pairwise([*turns, turns[0] + 1.0])]
    assert min(gaps) > 0.15


def test_a_larger_frame_leaves_less_room_for_texts():
    sizes = [400, 400, 400, 400]
    framed = SplitState([100] * 4, sizes, range(4), frame_bytes=1000)
    assert split_next(framed, PartBounds(tokens=10_000, texts=32, size_bytes=2000))[0] == [0, 1]
    alone = SplitState([100] * 4, sizes, range(4), frame_bytes=5000)
    assert split_next(alone, PartBounds(tokens=10_000, texts=32, size_bytes=2000))[0] == [0], "one text cannot be split"
