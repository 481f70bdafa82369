"""Each part of `bench.gpu` does on the CPU what it will do on a GPU: time limits, table, comparison, recommendation."""

import math
import os
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.gpu.budget import SHARES, limit_s
from bench.gpu.families import TOLERANCES, compare
from bench.gpu.models import FAMILIES
from bench.gpu.replicas import PAYS, best_count
from bench.gpu.steps import run_step
from bench.gpu.table import Outcome, families_line, markdown, recommendation
from embedfleet.engine.families.registry import MODEL_TYPES


@given(st.floats(1, 600), st.lists(st.floats(0, 1), min_size=len(SHARES), max_size=len(SHARES)))
def test_all_steps_together_keep_within_the_time_of_the_run(total, used):
    steps, left = list(SHARES), total
    for step, share in zip(steps, used, strict=True):
        limit = limit_s(step, steps, left)
        assert 0 <= limit <= left + 1e-9
        left -= share * limit
    assert left >= -1e-6
    assert limit_s(steps[-1], steps, 7.0) == 7.0
    assert limit_s(steps[0], steps, -1.0) == 0.0


rates = st.lists(st.floats(1, 1e6), min_size=1, max_size=4)


@given(rates)
def test_one_more_replica_is_recommended_as_long_as_each_pays(found):
    by_count = dict(enumerate(found, 1))
    best = best_count(by_count)
    assert all(by_count[count + 1] >= PAYS * by_count[count] for count in range(1, best))
    assert best == len(found) or by_count[best + 1] < PAYS * by_count[best]
    text = recommendation(Outcome([{"replicas": 1, "tokens_per_s": 5.0, "best": best}]))
    assert f"`replicas` to {best} times" in text


def test_every_model_type_of_the_engine_has_a_family_to_compare():
    def family(config):
        kind = MODEL_TYPES[config["model_type"]].__name__
        return "JinaBert" if config.get("position_embedding_type") == "alibi" else kind

    shared = {"Roberta"} | {family(kind.config) for kind in FAMILIES.values()}
    assert {kind.__name__ for kind in MODEL_TYPES.values()} <= shared


def test_every_family_is_right_on_the_cpu_in_every_precision():
    torch.set_num_threads(1)
    rows = list(compare("cpu", list(FAMILIES)))
    assert {(row["family"], row["precision"]) for row in rows} == {
        (family, precision)
        for family in FAMILIES
        for precision in TOLERANCES
        if "experts" not in family or precision == "float32"
    }
    assert [row for row in rows if not row.get("is_right")] == []
    assert {row["kernel"] for row in rows} == {"attention by definition"}
    assert {row["family"] for row in rows if not row["recorded"]} == {
        *("mpnet", "jina", "deberta reranker", "nomic experts")
    }


def module(folder: Path, monkeypatch, text: str) -> str:
    (folder / "step_under_test.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return "step_under_test"


def test_a_step_gives_its_rows(tmp_path, monkeypatch):
    name = module(tmp_path, monkeypatch, "import sys\nprint('{\"a\": 1}')\nprint('{\"a\": %s}' % sys.argv[1])")
    outcome = run_step([name, "7"], 60)
    assert (outcome.rows, outcome.error) == ([{"a": 1}, {"a": 7}], "")


def test_a_step_that_fails_keeps_its_rows_and_its_last_line(tmp_path, monkeypatch):
    name = module(tmp_path, monkeypatch, "print('{\"a\": 1}', flush=True)\nraise RuntimeError('no kernel image')")
    outcome = run_step([name], 60)
    assert (outcome.rows, outcome.error) == ([{"a": 1}], "RuntimeError: no kernel image")


STUCK = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal\\nsignal.pause()"])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"child": %d}' % child.pid, flush=True)
while True:
    signal.pause()
"""


def test_a_step_that_is_late_ends_with_all_that_it_started(tmp_path, monkeypatch):
    outcome = run_step([module(tmp_path, monkeypatch, STUCK)], 3, 0.2)
    (row,) = outcome.rows
    assert "ended after its 3 s" in outcome.error
    state = Path(f"/proc/{row['child']}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_table_names_what_was_measured_and_what_failed():
    speeds = [
        {"contestant": "embedfleet", "cell": "in process", "tokens_per_s": 3000.0},
        {"contestant": "embedfleet", "cell": "HTTP 16x32", "tokens_per_s": 2000.0},
    ]
    right = {"family": "bert", "precision": "float32", "tolerance": 1e-3, "difference": 1e-6, "is_right": True}
    broken = {"family": "gte", "precision": "float32", "tolerance": 1e-3, "error": "CUDA error"}
    page = markdown(
        {
            "families": Outcome([right | {"kernel": "k", "recorded": True}, broken]),
            "engine": Outcome(speeds),
            "sentence-transformers": Outcome([], "RuntimeError: not installed: pip install sentence-transformers"),
            "tei": Outcome([{"contestant": "TEI", "cell": "HTTP 16x32", "tokens_per_s": 1000.0}]),
            "replicas": Outcome([{"replicas": 1, "tokens_per_s": 9.0, "best": 1}], "ended after its 60 s"),
        },
        {"device": "NVIDIA L4"},
    )
    assert "- device: NVIDIA L4" in page
    assert "| TEI | HTTP 16x32 | 1,000 | 2.00 |" in page
    assert "| embedfleet | in process | 3,000 |  |" in page
    assert "float32 1 of 2 (not gte)" in page
    assert "| gte | float32 | CUDA error |" in page
    assert "pip install sentence-transformers" in page
    assert "- replicas: ended after its 60 s" in page
    assert "more than one does not pay" in page


def test_a_run_in_which_no_family_was_compared_says_so():
    assert families_line(Outcome()) == "none was compared"


def test_numbers_that_are_not_finite_are_wrong():
    from bench.gpu.families import _difference

    assert math.isinf(_difference([np.array([1.0, np.nan], np.float32)], [np.ones(2, np.float32)]))
