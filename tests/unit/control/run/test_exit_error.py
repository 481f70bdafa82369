"""A child with an invalid configuration stops the fleet, which reports the last error in the child's log."""

import pytest

from embedfleet.errors import UsageError
from tests.services.supervisor import run, world


def test_a_child_with_invalid_configuration_stops_all_with_its_own_error(tmp_path):
    tmp_path.joinpath("s-1.log").write_text(
        "error: an old one\n\nhint: old\nerror: no tokenizer.json\n\nhint: copy it\n"
    )

    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.ends["s-1"].append(2)
            made.run()
            with pytest.raises(UsageError, match=r"^s-1: no tokenizer.json$") as caught:
                await made.running
            assert caught.value.hint == "copy it"
            assert all(child.ended.done() for child in made.driver.running.values())

    run(test)


def test_a_gateway_whose_port_is_taken_gets_a_hint_with_the_setting(tmp_path):
    tmp_path.joinpath("s-gateway.log").write_text("error: 0.0.0.0:8001: in use\n\nhint: choose another --port\n")

    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.ends["s-gateway"].append(2)
            made.run()
            with pytest.raises(UsageError, match=r"s-gateway: 0.0.0.0:8001: in use") as caught:
                await made.running
            assert "services.s.port" in caught.value.hint

    run(test)
