"""The progress of a child's own start decides whether the child survives a failed start of the fleet."""

from tests.services.supervisor import found, run, world


def test_after_a_failed_update_only_replicas_of_the_same_model_stay(tmp_path):
    """A report about a replica that was replaced does not count for its successor."""

    async def test() -> None:
        async with world(tmp_path, replicas=3) as made:
            made.driver.found = found("s-0", is_stale=True) | found("s-1", is_stale=True, has_other_model=True)
            made.driver.found |= found("s-2", is_stale=False)
            await made.listen()
            made.run()
            await made.until_all_serve()
            kept = {name: child.start_record.keeps_running for name, child in made.supervisor.children.items()}
            assert kept == {"s-gateway": False, "s-0": True, "s-1": False, "s-2": True}
            made.child("s-0").has_served = False
            assert not made.child("s-0").start_record.keeps_running

    run(test)


def test_a_replacement_that_never_served_is_not_kept(tmp_path):
    async def test() -> None:
        async with world(tmp_path, replicas=1) as made:
            made.driver.found = found("s-0", is_stale=True)
            made.driver.loading = {"s-0"}
            child = made.child("s-0")
            child.has_served = True  # as its predecessor had, before that was replaced
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-0") == 1)
            assert not child.start_record.keeps_running

    run(test)
