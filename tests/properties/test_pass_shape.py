"""A batch that is padded to a fixed shape, or placed in grids, keeps each of its tokens and sequences."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.torch.grids import exact_length, make_grids, power_of_two
from embedfleet.engine.torch.pass_shape import PassShape, find_shape, fixed_shapes, pack

lengths = st.lists(st.integers(1, 70), min_size=1, max_size=140).map(np.array)
SHAPES = fixed_shapes(2048, 64)


def sections(numbers: np.ndarray, shape: PassShape) -> list[np.ndarray]:
    return np.split(numbers, np.cumsum(shape.sections)[:-1])


def numbered(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and types that differ from padding and from each other."""
    count = int(batch.sum())
    return np.arange(1, count + 1), np.arange(count) + 7


@given(lengths)
def test_a_packed_batch_has_every_token_and_sequence_and_then_padding(batch):
    shape = find_shape(SHAPES, batch) or PassShape.of(batch)
    ids, types = numbered(batch)
    numbers = pack(ids, types, batch, shape)
    assert len(numbers) == sum(shape.sections)
    given_ids, given_types, places, first, last, own, boundaries = sections(numbers, shape)
    count, ends = len(ids), np.cumsum(batch)
    assert (given_ids[:count] == ids).all()
    assert (given_types[:count] == types).all()
    assert not given_ids[count:].any()
    assert (own[: len(batch)] == batch).all()
    assert (first[: len(batch)] == ends - batch).all()
    assert (last[: len(batch)] == ends - 1).all()
    assert boundaries[0] == 0
    assert (np.diff(boundaries) == own).all()
    assert boundaries[-1] == own.sum() == shape.tokens
    assert own.max() <= shape.longest
    assert places.tolist() == [place for length in own for place in range(length)]
    assert 0 <= min(first.min(), last.min()) <= max(first.max(), last.max()) < shape.tokens


@given(lengths)
def test_the_smallest_shape_that_holds_a_batch_is_found(batch):
    found = find_shape(SHAPES, batch)
    if found is None:
        assert batch.max() > 64 or len(batch) > 256 or batch.sum() > SHAPES[-1].tokens
        return
    assert batch.sum() <= found.tokens
    smaller = [shape for shape in SHAPES if shape.tokens < found.tokens]
    assert all(shape.tokens < batch.sum() or shape.longest < batch.max() for shape in smaller)


@given(st.integers(64, 5000), st.integers(1, 600))
def test_shapes_grow_by_a_quarter_at_most_and_hold_the_longest_sequence(most, longest):
    shapes = fixed_shapes(most, longest)
    counts = [shape.tokens for shape in shapes]
    assert counts == sorted(set(counts))
    assert counts[0] == 64
    assert most / 1.25 - 1 <= counts[-1] <= most
    assert all(after <= before * 1.25 for before, after in pairwise(counts))
    assert all(shape.longest == min(longest, shape.tokens) for shape in shapes)


@given(lengths, st.sampled_from([exact_length, power_of_two]))
def test_grids_have_each_token_at_its_place(batch, padded):
    made = make_grids(batch, padded(batch))
    placed = np.concatenate([grid.tokens for grid in made.grids])
    assert (placed[made.order] == np.arange(batch.sum())).all()
    for grid in made.grids:
        rows = grid.tokens.reshape(grid.sequences, grid.length)
        for row, own in zip(rows, grid.lengths, strict=True):
            assert (np.diff(row[:own]) == 1).all()
            assert (row[own:] == row[own - 1]).all()
        assert grid.is_full == (len(set(grid.lengths) | {grid.length}) == 1)
    assert sorted(length for grid in made.grids for length in grid.lengths) == sorted(batch)


@given(lengths)
def test_rows_are_padded_by_less_than_half_and_the_grids_are_few(batch):
    padded = power_of_two(batch)
    assert ((batch <= padded) & ((padded < 2 * batch) | (padded == 16))).all()
    assert len(make_grids(batch, padded).grids) <= 4  # 16, 32, 64, 128
    assert len(make_grids(batch, exact_length(batch)).grids) == len(set(batch.tolist()))
