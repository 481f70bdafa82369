"""Hedging: the chunks of a silent replica, in any state, are also sent to another one."""

import pytest

from embedfleet.gateway.dispatch.commands import Cancel, Failure, Send
from embedfleet.types import ReplicaState
from tests.unit.gateway.dispatch.test_sending import NOW, ask, fleet, sends


def held_by(made, name):
    """Return three chunks at a replica; the other replicas have answered theirs."""
    for sent in [ask(made, [20])[0] for _ in range(3 * len(made.replicas))]:
        if sent.replica.id != name:
            made.answered(sent.chunk, sent.replica, 200, NOW)
    return list(made.replicas[name].chunks)


@pytest.mark.parametrize(
    ("how", "state"),
    [("malformed", ReplicaState.EJECTED), ("drain", ReplicaState.DRAINING), ("leave", ReplicaState.DRAINING)],
)
def test_chunks_of_a_silent_replica_that_is_ejected_or_draining_are_hedged(how, state):
    """A former version sent no copy for 115 s after a malformed reply of the hung replica, or after its drain."""
    made = fleet(2)
    chunks = held_by(made, "0")
    hung, other = made.replicas["0"], made.replicas["1"]
    if how == "malformed":
        broken = chunks.pop()
        made.failed(broken, hung, Failure.MALFORMED, NOW + 0.1)
        made.answered(broken, other, 200, NOW + 0.1)
    elif how == "drain":
        made.drain("0")
    else:
        made.set_members(["1"], NOW + 0.1)
    assert hung.state is state
    copies = sends(made.tick(NOW + 1))
    assert [send for send in copies if send.chunk in chunks] == [Send(chunk, other) for chunk in chunks]


def test_a_chunk_at_two_silent_replicas_is_sent_to_a_third():
    made = fleet(4)
    (asked,) = ask(made, [20])
    (copy,) = sends(made.tick(NOW + 1))
    made.tick(NOW + 1.1)
    commands = made.tick(NOW + 3)
    (third,) = sends(commands)
    assert Cancel(asked.chunk, asked.replica) in commands, "a chunk is at two replicas at most"
    assert third.replica not in {asked.replica, copy.replica}
    assert asked.chunk.sends == 3
    made.tick(NOW + 9)
    assert asked.chunk.sends == 3, "sends are limited"


def test_chunks_are_hedged_even_if_more_than_half_of_the_pool_is_silent():
    made = fleet(3)
    silent = [ask(made, [20])[0] for _ in range(2)]
    made.tick(NOW + 1)
    assert {send.chunk.copy_id for send in silent} == {"0", "1", "2"} - {send.replica.id for send in silent}
