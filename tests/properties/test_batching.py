"""Batches keep their bounds and include the oldest input, and every input runs."""

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.batching.choosing import BatchLimits, choose_batch

lengths = st.lists(st.integers(1, 600), min_size=1, max_size=60)
limits = st.builds(
    BatchLimits,
    tokens=st.integers(1, 2000),
    padding=st.none() | st.floats(0, 0.9),
    inputs=st.integers(1, 40),
)


@given(lengths, limits)
def test_a_batch_keeps_every_bound_unless_its_one_input_breaks_it_alone(waiting, limits):
    chosen = choose_batch(waiting, limits)
    sizes = [waiting[index] for index in chosen]
    padded = sum(sizes) if limits.padding is None else len(sizes) * max(sizes)
    assert len(chosen) == 1 or (
        len(sizes) <= limits.inputs
        and padded <= limits.tokens
        and padded - sum(sizes) <= (limits.padding or 0) * padded + 1e-9
    )


@given(lengths, limits)
def test_the_oldest_input_is_always_taken_and_none_twice(waiting, limits):
    chosen = choose_batch(waiting, limits)
    assert 0 in chosen
    assert len(set(chosen)) == len(chosen)
    assert all(0 <= index < len(waiting) for index in chosen)


@given(lengths, limits)
def test_every_input_runs_once_and_after_no_more_batches_than_were_before_it(waiting, limits):
    left = list(enumerate(waiting))
    ran: list[int] = []
    batches = 0
    while left:
        chosen = set(choose_batch([length for _, length in left], limits))
        for position, (number, _) in enumerate(left):
            if position in chosen:
                assert batches <= number
                ran.append(number)
        left = [item for position, item in enumerate(left) if position not in chosen]
        batches += 1
    assert sorted(ran) == list(range(len(waiting)))


def test_inputs_of_one_length_fill_the_budget():
    assert len(choose_batch([32] * 100, BatchLimits(tokens=512, padding=0.15, inputs=128))) == 16


def test_among_equal_lengths_the_older_inputs_run_first():
    assert sorted(choose_batch([10] * 5, BatchLimits(tokens=30, padding=0, inputs=128))) == [0, 1, 2]


def test_a_short_input_does_not_wait_for_long_ones_to_pad_it():
    assert choose_batch([5, 500, 480, 6], BatchLimits(tokens=512, padding=0.15, inputs=128)) == [0, 3]
