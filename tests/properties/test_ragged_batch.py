"""The layout of a ragged batch is correct for any lengths."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.compute.ragged_batch import ragged_layout

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=30)


@given(lengths)
def test_runs_are_the_sequences_in_order_and_no_two_neighbours_are_alike(given_lengths):
    places = ragged_layout(np.array(given_lengths))
    runs = places["run_shapes"].tolist()
    assert [length for count, length, _ in runs for _ in range(count)] == given_lengths
    assert {width for _, _, width in runs} == {-1}
    assert all(one[1] != other[1] for one, other in pairwise(runs))
    ends = np.cumsum([count * length for count, length, _ in runs]).tolist()
    assert places["run_ends"].tolist() == [[end] for end in ends]
    assert places["run_starts"].tolist() == [[start] for start in (0, *ends[:-1])]
    assert bool(places["uniform"]) == (len(runs) == 1)


@given(lengths)
def test_every_token_has_its_place_in_its_sequence(given_lengths):
    places = ragged_layout(np.array(given_lengths))
    ends = np.cumsum(given_lengths)
    assert places["places"].tolist() == [place for length in given_lengths for place in range(length)]
    assert places["first"].tolist() == (ends - given_lengths).tolist()
    assert places["last"].tolist() == (ends - 1).tolist()
    assert places["columns"].tolist() == list(range(max(given_lengths)))
