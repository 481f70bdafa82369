"""The supervisor ends children in order, and replaces those that ran before."""

from tests.services.supervisor import found, run, serving, world


def test_replicas_are_ended_only_after_the_gateways_have_ended(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            gateway, *replicas = (made.driver.running[name] for name in ("s-gateway", "s-0", "s-1"))
            gateway.obeys = False
            made.supervisor.stop()
            await made.until(lambda: gateway.told)
            replicas[0].end(-9)  # a death while stopping is no reason to start it again
            await made.until(lambda: made.child("s-0").running is None)
            assert not replicas[1].told
            gateway.end(0)
            await made.running
            assert replicas[1].told
            assert made.driver.count("s-0") == 1

    run(test)


def test_kill_ends_children_that_ignore_a_stop(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            for child in made.driver.running.values():
                child.obeys = False
            made.supervisor.stop()
            await made.until(lambda: made.driver.running["s-gateway"].told)
            made.supervisor.kill()
            await made.running
            assert all(child.ended.result() == -9 for child in made.driver.running.values())

    run(test)


def test_a_fleet_that_fails_leaves_what_served_before_it(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", is_stale=False)
            await made.listen()
            made.run()
            await made.until(lambda: all(made.ports))
            made.supervisor.fail()
            assert made.running is not None
            await made.running
            assert made.driver.running["s-0"].abandoned
            assert not made.driver.running["s-1"].abandoned
            assert made.driver.running["s-1"].told

    run(test)


def test_replicas_of_another_model_are_replaced_together(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", "s-1", is_stale=True, has_other_model=True)
            made.driver.loading = {"s-0", "s-1"}
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-0") == made.driver.count("s-1") == 1)
            assert made.gateway.new_models == 1, "the gateway that runs knows the former model"

    run(test)


def test_without_a_new_model_a_gateway_gets_no_permission_for_one(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", "s-1", is_stale=True)
            made.driver.loading = {"s-0", "s-1"}
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-0") == 1)
            assert made.gateway.new_models == 0

    run(test)
