"""``doctor`` on a machine with GPUs reports how TEI will get each model, before any container exists."""

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from embedfleet.control.models.folder import read_model_folder
from embedfleet.control.tei.folder import judge
from tests.services.docker.daemon import build_nvml
from tests.services.docker.site import H100, T4, gpus
from tests.services.fleet import COMMAND, LIMIT_S
from tests.services.models import make_bert
from tests.services.tei_folders import AMPERE

INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None and not os.environ.get("CI"):
        pytest.skip("not installed: cc (apt-get install gcc libc6-dev)")
    return build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned embedder and a cross-encoder, each as sentence-transformers 6 saves it."""
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("site")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, labels in (("bert", 0), ("ranker", 1)):
            made = make_bert(root / name, labels=labels)
            special = {f"{key}_token": f"[{key.upper()}]" for key in ("pad", "cls", "sep", "unk", "mask")}
            PreTrainedTokenizerFast(
                tokenizer_file=str(made / "tokenizer.json"), model_max_length=64, model_input_names=INPUTS, **special
            ).save_pretrained(made)
        model = Transformer(str(root / "bert"))
        modules = [model, Pooling(32, "mean"), Dense(32, 16), Normalize()]
        SentenceTransformer(modules=modules).save(str(root / "models/bge-m3"))
        CrossEncoder(str(root / "ranker")).save(str(root / "models/bge-reranker-v2-m3"))
    return root


def checks(site: Path, nvml: Path, *kinds: str, flags: tuple[str, ...] = (), **env: str) -> dict[str, dict[str, str]]:
    """The findings on each model."""
    done = subprocess.run(
        [*COMMAND, "doctor", "--json", *flags],
        cwd=site,
        env=os.environ
        | {"LD_LIBRARY_PATH": str(nvml), "FAKE_GPUS": gpus(*kinds), "DOCKER_HOST": "unix:///nowhere/docker.sock"}
        | env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return {check["id"]: check for check in json.loads(done.stdout)["checks"] if check["id"].startswith("model.")}


def test_a_folder_of_todays_library_is_corrected_and_the_corrections_are_listed(site, nvml):
    found = checks(site, nvml, H100, H100)
    assert {check["state"] for check in found.values()} == {"ok"}
    said = found["model.embedder"]["message"]
    assert (
        ": embedder, 4.00 MB, inputs of up to 64 tokens; TEI 1.9.3 serves it with 3 corrections: `up` gives TEI" in said
    )
    for file, key in (("1_Pooling/config.json", "pooling_mode"), ("sentence_bert_config.json", "max_seq_length")):
        assert f"\n  - {file}: {key} " in said
    assert "TEI would ignore the Dense" in said
    verdict = judge(read_model_folder(site / "models/bge-m3"), AMPERE)
    assert verdict.files.keys() == {"1_Pooling/config.json", "sentence_bert_config.json", "modules.json"}
    said = found["model.reranker"]["message"]
    assert ": reranker, 4.00 MB, inputs of up to 64 tokens; TEI 1.9.3 serves it with 1 correction: " in said
    assert "\n  - sentence_bert_config.json: max_seq_length is missing: 64, the smaller of 64 (" in said


def test_a_model_that_tei_refuses_is_reported_with_a_hint(site, nvml):
    found = checks(site, nvml, T4, EMBEDFLEET_EMBEDDER_POOLING="max", EMBEDFLEET_RERANKER_MODEL="models/bge-m3")
    assert {check["state"] for check in found.values()} == {"blocked"}
    assert "cannot serve it: the setting pooling is max" in found["model.embedder"]["message"]
    assert "our own engine" in found["model.embedder"]["hint"]
    assert "config.json: architectures" in found["model.reranker"]["message"]


@pytest.mark.parametrize("flags", [("--gpu=H100",), ("--set=embedder.driver=docker", "--set=reranker.driver=docker")])
def test_the_verdict_needs_neither_a_gpu_nor_a_daemon(site, nvml, flags):
    found = checks(site, nvml, flags=flags)
    assert {check["state"] for check in found.values()} == {"ok"}
    assert all("TEI 1.9.3 serves it with " in check["message"] for check in found.values())


def test_a_missing_folder_is_one_finding_among_others(site, nvml):
    found = checks(site, nvml, flags=("--set=embedder.model=models/none",))
    assert found["model.embedder"]["state"] == "blocked"
    assert "there is no folder" in found["model.embedder"]["message"]
    assert found["model.reranker"]["state"] == "ok"


def test_for_our_own_engine_only_complete_files_are_checked(site, nvml, tmp_path):
    shutil.copytree(site / "models", tmp_path / "models")
    model = tmp_path / "models/bge-m3"
    flags = {"EMBEDFLEET_EMBEDDER_MODEL": str(model), "EMBEDFLEET_RERANKER_ENABLED": "false", "EMBEDFLEET_GPU": "CPU"}
    assert checks(tmp_path, nvml, **flags)["model.embedder"]["state"] == "ok"
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    found = checks(tmp_path, nvml, **flags)["model.embedder"]
    assert (found["state"], "git lfs pull" in found["hint"]) == ("blocked", True)
    assert f"{model}/model.safetensors is a git-lfs pointer" in found["message"]
