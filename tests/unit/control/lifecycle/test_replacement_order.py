"""An update replaces one replica at a time, and never the last one that serves."""

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.lifecycle.replacement_order import held_back

names = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)


@given(names, st.data())
def test_at_most_one_is_replaced_and_only_once_its_neighbours_serve(all_of_them, data):
    count = data.draw(st.integers(1, len(all_of_them)))
    stale, others = all_of_them[:count], all_of_them[count:]
    neighbours = {name: data.draw(st.booleans()) for name in others}
    serving = set(data.draw(st.lists(st.sampled_from(all_of_them), unique=True)))
    free = set(stale) - held_back(stale, neighbours, serving)
    assert free <= {stale[0]}
    if free:
        assert all(name in serving or is_drained for name, is_drained in neighbours.items())
        assert count > 1 or not neighbours or not all(neighbours.values())


@given(names)
def test_a_replacement_may_start_while_all_neighbours_serve(all_of_them):
    stale, neighbours = all_of_them[:1], dict.fromkeys(all_of_them[1:], False)
    assert held_back(stale, neighbours, set(neighbours)) == set()
