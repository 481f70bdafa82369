"""A balancer gets its replicas, again after each change or failure, and an update replaces them one at a time."""

from tests.services.supervisor import found, run, serving, world


def test_the_gateway_gets_the_addresses_of_the_replicas(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            assert [member["id"] for member in made.gateway.members] == ["s-0", "s-1"]
            await made.until_published(*made.ports)

    run(test)


def test_a_gateway_that_does_not_answer_yet_gets_the_replicas_later(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.run()
            await made.until(lambda: all(made.ports))
            await made.listen()
            await made.until_published(*made.ports)

    run(test)


def test_a_replica_that_becomes_ready_during_a_publication_is_published_too(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.loading = {"s-1"}
            made.gateway.told = lambda: made.driver.running["s-1"].listen(9)
            await made.listen()
            made.run()
            await made.until(lambda: made.ports[1] == 9)
            await made.until_published(*made.ports)

    run(test)


def test_permission_for_a_new_model_reaches_the_drivers_too(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            assert made.driver.new_models == []
            await made.supervisor.allow_new_model()
            assert set(made.driver.new_models) == {"s"}, "a restarted replica may find another model in its folder"
            assert made.gateway.new_models == 1

    run(test)


def test_former_replicas_keep_serving_and_are_replaced_one_at_a_time(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", "s-1", is_stale=True)
            made.driver.loading = {"s-0", "s-1"}
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.count("s-0") == 1)
            await made.until(lambda: [member["id"] for member in made.gateway.members] == ["s-1"])
            assert made.driver.count("s-1") == 0, "its turn has not come"
            assert (await made.service.reports())["s-1"].state == "outdated"
            made.driver.running["s-0"].listen(8000)
            await made.until(lambda: made.driver.count("s-1") == 1)
            assert [member["id"] for member in made.gateway.members] == ["s-0"]
            made.driver.running["s-1"].listen(8001)
            await made.until_published(8000, 8001)

    run(test)


def test_a_replica_that_does_not_serve_keeps_the_next_from_being_replaced(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", "s-1", is_stale=True)
            made.gateway.state = "ejected"
            await made.listen()
            made.run()
            await made.until(lambda: [member["id"] for member in made.gateway.members] == ["s-0", "s-1"])
            assert (made.driver.count("s-0"), made.driver.count("s-1")) == (1, 0)

    run(test)
