"""Two models never answer for one service; the contents of a model folder decide, not its name."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from os import kill
from pathlib import Path
from threading import Event, Thread

import orjson
import pytest

from tests.e2e.docker.test_life import ONE
from tests.services.docker.models import make_embedder
from tests.services.docker.site import QUESTION, Site

NAME = "bge-embedder-tei-{}"


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, in a folder of the same name."""
    return make_embedder(tmp_path_factory.mktemp("another") / "bge-m3", seed=7)


def vector(site: Site, text: str = QUESTION["inputs"]) -> float:
    """Return the first number of the service's vector, which differs between the models."""
    return orjson.loads(site.embedder.post("/embed", {"inputs": text}).body)[0][0]


@contextmanager
def answers(site: Site) -> Iterator[list[float]]:
    """Yield the first numbers of the service's vectors during the block, in order."""
    seen: list[float] = []
    over = Event()

    def ask_on() -> None:
        while not over.wait(0.02):
            try:
                answer = site.embedder.post("/embed", QUESTION)
            except OSError:
                continue
            if answer.status == 200:
                seen.append(round(orjson.loads(answer.body)[0][0], 3))

    thread = Thread(target=ask_on)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def changes(seen: list[float]) -> int:
    """Return the number of answers that differ from the one before."""
    return sum(one != other for one, other in pairwise(seen))


def move(folder: Path, other: Path) -> None:
    folder.rename(folder.with_name("former"))
    shutil.copytree(other, folder)


def copy(folder: Path, other: Path) -> None:
    shutil.copytree(other, folder, dirs_exist_ok=True)


def freeze(site: Site, name: str) -> None:
    """Stop a replica's process so that it hangs."""
    kill(site.client.containers.get(name).attrs["State"]["Pid"], signal.SIGSTOP)


def test_another_folder_of_the_same_name_is_another_model_even_if_replicas_hang(site: Site, another: Path):
    flags = (*ONE, "--set", "embedder.replicas=3")
    site.up(*flags)
    before, former = site.containers, round(vector(site), 3)
    site.kill_controller()
    for number in (0, 1):
        freeze(site, NAME.format(number))
    with answers(site) as seen:
        site.up(*flags, "--set", f"embedder.model={another}", EMBEDFLEET_STOP_GRACE_S="1")
        site.until("an answer", lambda: bool(seen) and seen[-1] != former)
    assert changes([former, *seen]) == 1, seen
    after = site.containers
    assert after.keys() == before.keys(), "no former container is left"
    assert all(after[NAME.format(number)] != before[NAME.format(number)] for number in range(3))


def test_a_folder_with_new_content_is_another_model(site: Site, another: Path):
    """The daemon restarts a dead replica with the present contents of its folder."""
    site.up(*ONE)
    before, former = site.containers, vector(site)
    site.kill_controller()
    copy(site.folder / "models/bge-m3", another)
    died = site.client.containers.get(NAME.format(0))
    started = died.attrs["State"]["StartedAt"]
    kill(died.attrs["State"]["Pid"], signal.SIGKILL)
    site.until("its next life", lambda: site.client.api.inspect_container(died.id)["State"]["StartedAt"] != started)
    site.up(*ONE)
    after = site.containers
    assert all(after[NAME.format(number)] != before[NAME.format(number)] for number in (0, 1))
    assert site.states("embedder") == {NAME.format(number): "active" for number in (0, 1)}
    now = {round(vector(site), 3) for _ in range(10)}
    assert len(now) == 1
    assert now != {round(former, 3)}


def test_a_copy_of_the_same_model_is_no_other_model(site: Site):
    site.up(*ONE)
    before = site.containers
    site.kill_controller()
    folder = site.folder / "models/bge-m3"
    move(folder, _copied(folder))
    site.up(*ONE)
    assert site.containers == before


def _copied(folder: Path) -> Path:
    return shutil.copytree(folder, folder.with_name("copied"))


def test_a_replica_of_a_swapped_folder_is_kept_out_until_an_operator_allows_it(site: Site, another: Path):
    site.up(*ONE)
    # A request that a replica dies with is accused, and is not tried on the last serving replica. So the same text
    # might have to wait until both serve (docs/dispatching.md).
    former, of_another_text = round(vector(site), 3), round(vector(site, "another text"), 3)
    move(site.folder / "models/bge-m3", another)
    with answers(site) as seen:
        site.until("an answer", lambda: bool(seen))
        site.client.containers.get(NAME.format(0)).kill()
        site.until("a reason that names the model", lambda: "holds another model" in reason(site, 0))
        assert site.states("embedder")[NAME.format(1)] == "active"
    assert set(seen) == {former}
    assert "holds another model" in site.run("logs", "up", "-n", "50").stdout
    site.run("up", "--new-model")
    site.until("the new model", lambda: site.states("embedder")[NAME.format(0)] == "active")
    assert round(vector(site, "another text"), 3) != of_another_text
    site.client.containers.get(NAME.format(1)).kill()
    site.until_active("embedder")


def reason(site: Site, number: int) -> str:
    (service,) = site.status["services"]
    return str(service["replicas"][number].get("reason", ""))
