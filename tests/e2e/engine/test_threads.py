"""An engine has as many threads as set, whatever number of cores its libraries assume."""

from pathlib import Path

from tests.services.engine import Client
from tests.services.verb import verb


def test_libraries_start_no_threads_of_their_own(monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "16")  # the libraries' own choice on a machine with 16 cores
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    with verb("engine") as engine:
        assert Client(engine.port).post("/embed", {"inputs": ["a text", "b", "c", "d"]}).status == 200
        threads = list(Path(f"/proc/{engine.process.pid}/task").iterdir())
    assert len(threads) < 8
