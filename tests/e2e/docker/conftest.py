"""One daemon with images per worker; each test has its own folder."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.docker.daemon import Daemon, build_nvml, why_not
from tests.services.docker.images import NGINX, OWN, TEI, provide, save
from tests.services.docker.models import make_embedder, make_reranker
from tests.services.docker.site import Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.slow)
            # The docker package leaves sockets of streamed answers to the garbage collector.
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="session")
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(f"in CI these tests must run: {reason}")
        pytest.skip(reason)
    daemon = Daemon()
    try:
        daemon.start()
        cache = request.config.cache
        wheels = Path(cache.mkdir("wheels")) if cache else daemon.folder / "wheels"
        shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else None
        provide(daemon.host, daemon.folder, wheels, shared)
        yield daemon
    finally:
        daemon.stop()
        daemon.remove()


@pytest.fixture(scope="session")
def nvml(daemon: Daemon) -> Path:
    return build_nvml(daemon.folder / "nvml")


@pytest.fixture(scope="session")
def tars(daemon: Daemon) -> Iterator[Path]:
    """A folder of image tars, as users have it."""
    folder = daemon.folder / "tei-images"
    for family, image in TEI.items():
        save(daemon.host, image, folder / f"text-embeddings-inference-{family}.tar")
    save(daemon.host, NGINX, folder / "nginx.tar")
    save(daemon.host, OWN, folder / "embedfleet.tar")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    make_embedder(folder / "bge-m3")
    make_reranker(folder / "bge-reranker-v2-m3")
    return folder


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect the docker package's garbage here, where warnings are expected, and not in the next test."""
    yield
    gc.collect()


@pytest.fixture
def site(tmp_path: Path, daemon: Daemon, nvml: Path, models: Path) -> Iterator[Site]:
    (tmp_path / "models").mkdir()
    for model in models.iterdir():
        shutil.copytree(model, tmp_path / "models" / model.name)
    site = Site(tmp_path, daemon.host, nvml)
    yield site
    site.clean()
