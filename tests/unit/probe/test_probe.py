"""The comparison of the models of two replicas, and the changes of a pool's model."""

import math

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.probe.fingerprint import Fingerprint
from embedfleet.probe.pool_model import CHANGE_ALLOWED_S, ModelIdentity, PoolModel
from embedfleet.probe.process_watch import renewal_at
from embedfleet.probe.sample import COSINE, NORM, SCORE, Sample

NUMBERS = st.floats(-100, 100).map(lambda number: round(number, 6))
VECTORS = st.lists(NUMBERS, min_size=1, max_size=20).filter(lambda vector: math.hypot(*vector) > 0.1)
PRINT = Fingerprint("m", "", "embedding", "mean", "{}")


def vector(*values: float) -> Sample:
    return Sample.of("/embed", [list(values)])


def weights(**values: float) -> Sample:
    return Sample.of("/embed_sparse", [[{"index": name, "value": value} for name, value in values.items()]])


def scores(*values: float) -> Sample:
    return Sample.of("/rerank", [{"index": place, "score": value} for place, value in enumerate(values)])


@given(VECTORS, st.floats(1 - NORM / 2, 1 + NORM / 2))
def test_a_vector_of_a_slightly_different_norm_agrees(values, factor):
    half = [value * factor for value in values]
    assert vector(*half).difference(vector(*values)) == ""


@given(VECTORS, st.floats(1.02, 10) | st.floats(0.01, 0.98))
def test_a_vector_of_another_norm_differs(values, factor):
    assert "norm" in vector(*(value * factor for value in values)).difference(vector(*values))


@given(VECTORS, VECTORS)
def test_a_difference_is_symmetric(one, other):
    assert bool(vector(*one).difference(vector(*other))) == bool(vector(*other).difference(vector(*one)))


@given(st.floats(0, math.pi))
def test_the_cosine_decides(angle):
    turned = vector(math.cos(angle), math.sin(angle)).difference(vector(1, 0))
    assert bool(turned) == (math.cos(angle) < COSINE)


def test_another_number_of_components_is_described():
    assert vector(1, 0, 0).difference(vector(1, 0)) == "its vector has 3 numbers, the pool's 2"


def test_empty_weights_agree_only_with_empty_weights():
    assert weights().difference(weights()) == ""
    assert weights(a=1).difference(weights())
    assert weights().difference(weights(a=1))


def test_words_count_by_their_weights():
    assert weights(a=1, b=2).difference(weights(a=1, b=2, c=0.01)) == ""
    assert "cosine" in weights(a=2, b=1).difference(weights(a=1, b=2))


@given(st.lists(NUMBERS, min_size=1, max_size=3), st.floats(-1, 1))
def test_scores_may_differ_by_a_bound(values, change):
    differs = scores(*(value + change for value in values)).difference(scores(*values))
    if abs(abs(change) - SCORE) > 1e-9:
        assert bool(differs) == (abs(change) > SCORE)


def test_another_kind_of_answer_is_another_model():
    assert scores(1).difference(vector(1)) == "it answers with scores, the pool with vector"


def test_a_missing_revision_and_another_number_format_are_no_difference():
    info = {"model_id": "/a/m", "model_type": {"embedding": {"pooling": "cls"}}, "model_dtype": "float16"}
    told = Fingerprint.of(info | {"model_id": "/b/m/", "model_sha": "abc", "model_dtype": "float32"})
    assert told.difference(Fingerprint.of(info)) == ""
    assert told.difference(Fingerprint.of(info | {"model_sha": "def"})) == "revision is 'abc', the pool's is 'def'"


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["admit", "admit", "permit", "wait"])), max_size=30))
def test_a_pool_has_one_model_and_each_permission_changes_it_once(history):
    models = [ModelIdentity(PRINT, vector(*numbers)) for numbers in ((1, 0), (0, 1), (1, 1))]
    reference, now, permitted_until, current = PoolModel(), 0.0, -1.0, None
    for number, what in history:
        if what == "wait":
            now += CHANGE_ALLOWED_S / 2 * number
        elif what == "permit":
            reference.allow_change(now)
            permitted_until = now + CHANGE_ALLOWED_S
        else:
            refused = reference.admit(models[number], now)
            may = current is None or current == number or now < permitted_until
            assert bool(refused) == (not may)
            if may and current != number:
                current, permitted_until = number, -1.0
            assert reference.model is None or not reference.difference(models[current])


@given(st.floats(0.05, 1000))
def test_one_of_the_watching_connections_is_open_whatever_the_servers_idle_timeout(idle_timeout_s):
    """Each is closed once it was idle for that time; the first two are opened with the shortest time between them."""
    now, apart_s = 0.0, idle_timeout_s / 2 if idle_timeout_s < 0.8 else 0.4
    opened = [0.0]
    for _ in range(200):
        renews, ends = max(now, renewal_at(opened[0], opened[-1], apart_s)), opened[0] + idle_timeout_s
        now = min(renews, ends)
        if ends <= renews:
            opened.pop(0)
            assert opened, "no connection is left"
        else:
            opened = [opened[0], now]
