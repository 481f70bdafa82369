"""The prediction of a replica's batches agrees with a modelled server, from the answers alone."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.gateway.dispatch.batch_cycle import BatchCycle
from embedfleet.gateway.dispatch.replica_speed import BatchCost, Pace
from embedfleet.simulation import batch_cost
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.replica import NETWORK_S, SimCall, SimReplica

A_S, B_S = 0.012, 26.7e-6
BATCH_TOKENS = 16_384


class Watched:
    """A modelled server, and the cycle that learns from its answers."""

    def __init__(self, *, is_ahead):
        self.clock = Clock()
        cost = batch_cost.BatchCost(A_S, B_S, BATCH_TOKENS)
        self.server = SimReplica(self.clock, cost, permits=10**9, ahead=is_ahead)
        pace = Pace()
        pace.set_cost(BatchCost(A_S, B_S))
        self.cycle = BatchCycle(pace)
        self.cycle.batch_tokens = BATCH_TOKENS
        self.chunks = {}  # sent at: tokens

    def send(self, tokens):
        sent_at = self.clock.now

        def answered(_):
            if self.cycle.ends_batch(sent_at, self.clock.now):
                self.cycle.start_next(self.clock.now, self.chunks.items())
            del self.chunks[sent_at]
            self.cycle.take_off(tokens, sent_at, self.clock.now)

        self.chunks[sent_at] = tokens
        self.cycle.add(tokens, sent_at)
        self.server.send(SimCall((tokens,), answered))

    def play(self, sends):
        """Send chunks after gaps; return the error of each prediction, and the tokens sent within a network delay."""
        errors = []
        for gap_s, tokens in sends:
            self.clock.run(self.clock.now + gap_s)
            real = self.server.seconds_until(tokens)
            errors.append(abs(self.cycle.seconds_until(tokens, self.clock.now) - real))
            self.send(tokens)
        return errors


def sends(seed, many):
    """Gaps of 0.1 to 10 ms, and 1 to 300 tokens; drawn here, since hundreds of drawn numbers take too long."""
    chance = random.Random(seed)
    return [(0.000_1 * 100 ** chance.random(), chance.randint(1, 300)) for _ in range(many)]


@pytest.mark.parametrize("is_ahead", [True, False])
@given(seed=st.integers(0, 2**32))
def test_predictions_agree_with_a_server_once_its_kind_is_learnt(is_ahead, seed):
    watched = Watched(is_ahead=is_ahead)
    watched.play([(0.001, 100)] * 200)  # a steady load shows what kind of server it is
    errors = sorted(watched.play(sends(seed, 200)))
    assert watched.cycle.is_ahead == is_ahead
    chunk_s = A_S + B_S * 300  # a chunk under way when a batch is formed may be counted one batch early
    assert errors[len(errors) // 2] <= 4 * NETWORK_S + B_S * 300
    assert errors[-1] <= 2 * chunk_s + 4 * NETWORK_S


@given(seed=st.integers(0, 2**32), is_ahead=st.booleans())
def test_counts_are_those_of_the_chunks_that_are_not_computed(seed, is_ahead):
    watched = Watched(is_ahead=is_ahead)
    cycle = watched.cycle
    for send in sends(seed, 100):
        watched.play([send])
        assert min(cycle.running, cycle.formed, cycle.queued) >= 0
        assert cycle.running + cycle.formed + cycle.queued <= sum(watched.chunks.values())
    watched.clock.run(watched.clock.now + 60)
    assert (cycle.running, cycle.formed, cycle.queued) == (0, 0, 0)


def test_a_later_chunk_is_never_predicted_earlier():
    watched = Watched(is_ahead=True)
    predictions = []
    for _ in range(50):
        predictions.append(watched.cycle.seconds_until(100, 0.0))
        watched.cycle.add(100, 0.0)
    assert all(one <= other for one, other in pairwise(predictions))


def test_a_late_batch_is_predicted_later_the_later_it_is():
    cycle = Watched(is_ahead=True).cycle
    cycle.add(100, 0.0)
    late = [cycle.seconds_until(1, now) for now in (0.05, 0.1, 0.2, 1.0)]
    assert late == sorted(late)
    assert late[-1] > 1.0
