"""The choice of a batch; `tests/properties/test_batching.py` has its properties."""

from embedfleet.engine.batching.choosing import BatchLimits, choose_batch


def test_without_padding_inputs_run_by_age_while_there_is_room_in_order_of_length():
    limits = BatchLimits(tokens=100, padding=None, inputs=4)
    assert choose_batch([60, 5, 30, 6, 1], limits) == [4, 1, 2, 0]
    assert choose_batch([60, 50, 45, 30, 20, 10], limits) == [5, 3, 0]
    assert choose_batch([7, 5, 7, 5], limits) == [1, 3, 0, 2]
    assert choose_batch([1] * 9, limits) == [0, 1, 2, 3]
    assert choose_batch([500, 1], limits) == [0]


def test_only_a_backend_that_pads_limits_the_share_of_padding():
    assert BatchLimits.of(7, is_padding_free=True) == BatchLimits(tokens=7, padding=None)
    assert BatchLimits.of(7, is_padding_free=False) == BatchLimits(tokens=7)
