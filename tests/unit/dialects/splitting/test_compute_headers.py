"""TEI's cost headers, joined over the parts of a request."""

from embedfleet.dialects.serving.tei import RequestCost, cost_headers
from embedfleet.dialects.splitting.compute_headers import join_headers

ONE = RequestCost(characters=10, tokens=4, total_s=0.010, tokenization_s=0.001, queue_s=0.006, inference_s=0.003)
OTHER = RequestCost(characters=5, tokens=3, total_s=0.007, tokenization_s=0.002, queue_s=0.001, inference_s=0.004)


def test_work_is_summed_and_the_longest_time_is_taken():
    joined = join_headers([cost_headers(ONE), cost_headers(OTHER)])
    assert joined == [
        (b"x-compute-type", b"gpu+optimized"),
        (b"x-compute-time", b"17"),
        (b"x-compute-characters", b"15"),
        (b"x-compute-tokens", b"7"),
        (b"x-total-time", b"10"),
        (b"x-tokenization-time", b"2"),
        (b"x-queue-time", b"6"),
        (b"x-inference-time", b"4"),
    ]


def test_other_headers_are_the_first_parts_without_content_length():
    first = [(b"content-type", b"application/json"), (b"content-length", b"9"), (b"vary", b"a"), (b"vary", b"b")]
    assert join_headers([first, [(b"content-type", b"x"), (b"date", b"now")]]) == [first[0], *first[2:]]


def test_a_count_that_one_part_lacks_is_left_out():
    fields = [(b"x-compute-tokens", b"4"), (b"x-queue-time", b"1")]
    for other in ([], [(b"x-compute-tokens", b"many"), (b"x-queue-time", b"-1")]):
        assert join_headers([fields, other]) == join_headers([fields + other, other]) == []


def test_the_first_of_a_repeated_header_counts():
    twice = [(b"x-compute-tokens", b"4"), (b"x-compute-tokens", b"9")]
    assert join_headers([[(b"x-compute-tokens", b"1")], twice]) == [(b"x-compute-tokens", b"5")]
