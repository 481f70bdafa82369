"""The dispatcher in the simulator: defects that simulations have shown before, and its gain over rivals."""

from dataclasses import replace

from bench.simulation.policies import POLICIES
from embedfleet.load.workload import Arrival
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.faults import Fault
from embedfleet.simulation.gateway import SimGateway
from embedfleet.simulation.policy import GatewayPolicy
from embedfleet.simulation.simulated_run import Cell, Run, simulate


def ours(replicas: int = 4, seconds: float = 20, **given) -> Cell:
    return Cell(GatewayPolicy(), replicas=replicas, seconds=seconds, **given)


def ask(run: Run, asked: list[Arrival]) -> None:
    for arrival in asked:
        later = replace(arrival, at_s=run.clock.now + arrival.at_s)
        run.clock.at(later.at_s, lambda arrival=later: run.front_door.arrive(arrival))


def dispatcher(run: Run):
    assert isinstance(run.front_door, SimGateway)
    return run.front_door.dispatcher


def test_a_replica_that_hangs_does_not_attract_requests():
    """If its expected end decayed to now, it would look free, and get all requests."""
    figures = simulate(ours(load=0.5, seed=1, faults=(Fault("stop", 5, 60),)))
    assert figures["online_over_1s"] == 0
    assert figures["lost"] == figures["refused"] == 0


def test_a_replica_that_hangs_right_after_it_answered_is_noticed():
    figures = simulate(ours(workload="docs", load=0.4, seconds=3, seed=1, faults=(Fault("stop", 1, 30),)))
    assert figures["online_over_5s"] == 0


def test_a_suspect_that_is_well_again_serves_again():
    cell = ours(load=0.7, seconds=30, seed=2)
    run = Run(cell)
    ask(run, cell.arrivals())
    run.clock.run(5)
    run.replicas[0].stop(3)
    run.clock.run(20)
    before = run.replicas[0].tokens
    assert [replica.state for replica in dispatcher(run).replicas.values()] == ["active"] * 4
    run.clock.run(30)
    assert run.replicas[0].tokens > before


def test_a_crash_loses_nothing():
    figures = simulate(ours(replicas=3, load=0.6, seed=3, faults=(Fault("crash", 5, 5),)))
    assert figures["lost"] == figures["refused"] == 0


def test_clients_do_not_notice_a_replica_that_answers_429_for_a_while():
    figures = simulate(ours(load=0.5, seed=3, faults=(Fault("throttle", 5, 5),)))
    assert figures["lost"] == figures["refused"] == 0


def test_equal_replicas_get_similar_estimates():
    """A biased estimate of speed would send the work to the replica that looks faster."""
    cell = ours(workload="docs", load=0.7, seconds=10, seed=5)
    run = Run(cell)
    run.play(cell.arrivals())
    slowness = [replica.pace.slowness for replica in dispatcher(run).replicas.values()]
    assert max(slowness) / min(slowness) < 1.2


def test_bulk_is_never_put_behind_bulk_that_online_work_waits_for():
    cell = ours(replicas=2, load=0.9, seed=6)
    run = Run(cell)
    seen = []
    send = run.front_door._send

    def watch(chunk, replica):
        if not chunk.is_online:
            seen.append((replica.bulk_chunks, replica.online_chunks))
        send(chunk, replica)

    run.front_door._send = watch
    run.play(cell.arrivals())
    assert seen
    assert all(bulk <= 1 or online == 0 for bulk, online in seen)


def test_queries_find_a_free_replica_among_many_although_batches_could_use_all():
    own, rival = (
        simulate(Cell(policy, load=0.5, replicas=16, seconds=5, seed=10))
        for policy in (GatewayPolicy(), GatewayPolicy(reserve=False))
    )
    assert rival["online_p99_ms"] > 2 * own["online_p99_ms"]


def test_a_long_document_waits_no_longer_than_its_tokens_are_worth():
    """As bulk work it would wait behind all short documents, for as long as they arrive."""
    assert simulate(ours(workload="docs", seconds=5, seed=2))["online_over_1s"] == 0


def test_nothing_is_left_under_way_when_all_is_answered():
    cell = ours(load=0.9, seed=8, faults=(Fault("crash", 5, 2), Fault("stop", 10, 3, replica=1)))
    run = Run(cell)
    run.play(cell.arrivals())
    assert dispatcher(run).under_way == dispatcher(run).queued == dispatcher(run).queued_bytes == 0
    assert [(r.tokens, r.texts, len(r.chunks)) for r in dispatcher(run).replicas.values()] == [(0, 0, 0)] * 4


def test_queries_are_quick_beside_bulk_where_least_conn_makes_them_wait():
    own, rival = (simulate(Cell(policy, seconds=40, seed=7)) for policy in (GatewayPolicy(), POLICIES["least_conn"]))
    assert rival["online_p99_ms"] > 10 * own["online_p99_ms"]


def test_padded_replicas_compute_less_padding_when_batches_are_cut_by_length():
    cells = [
        replace(ours(load=0.85, seed=9), cost=replace(BatchCost(), padded=True), policy=policy)
        for policy in (GatewayPolicy(), POLICIES["least_conn"])
    ]
    own, rival = map(simulate, cells)
    assert own["useful_of_padded"] > 1.5 * rival["useful_of_padded"]
