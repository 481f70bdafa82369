"""A model folder with arbitrary small files is read, or refused with an error that names the file."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.errors import ModelError
from embedfleet.model_folder.keys.table import KEYS
from tests.services.models import make_bert

FILES = {
    "tokenizer_config.json": {"model_max_length": 64, "cls_token": "[CLS]"},
    "special_tokens_map.json": {"sep_token": {"content": "[SEP]"}},
    "added_tokens.json": {"<added>": 9},
    "sentence_bert_config.json": {"max_seq_length": 32},
    "config_sentence_transformers.json": {"prompts": {"query": "q: "}},
    "1_Pooling/config.json": {"pooling_mode": "mean"},
    "config.json": {},
}
NAMES = sorted({name for key in KEYS for name in key.keys} | {"extra_special_tokens", "additional_special_tokens"})
ODD = st.sampled_from(
    [None, True, False, -1, 0, 1, 3, 2**63, 10**30, 1.5, float("nan"), float("inf"), "", "a", "query", "forward"]
)
VALUES = st.one_of(
    ODD,
    st.lists(ODD, max_size=2),
    st.dictionaries(st.sampled_from(["content", "text", "1", "model_max_length", "special"]), ODD, max_size=2),
    st.just([{"content": "x"}]),
    st.just({"1": {"content": "x"}}),
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT with a slow tokenizer's files; its weights do not matter."""
    folder = make_bert(tmp_path_factory.mktemp("models") / "bert")
    (folder / "1_Pooling").mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    for name, values in FILES.items():
        file = folder / name
        file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | values))
    return folder


@given(data=st.data())
def test_odd_values_are_read_or_refused_by_file(folder, tmp_path_factory, data):
    copy = tmp_path_factory.getbasetemp() / "odd-files"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, copy_function=lambda one, other: Path(other).symlink_to(one))
    if data.draw(st.booleans()):
        (copy / "tokenizer.json").unlink()
    for _ in range(data.draw(st.integers(1, 3))):
        file = copy / data.draw(st.sampled_from(sorted(FILES)))
        values = json.loads(file.read_text()) | {data.draw(st.sampled_from(NAMES)): data.draw(VALUES)}
        file.unlink()
        file.write_text(json.dumps(values))
    refusal, text = read(copy, data.draw(st.sampled_from([None, Pooling.CLS])), ranks=data.draw(st.booleans()))
    assert str(copy) in refusal
    if text is not None:
        Tokenizer.from_str(text)


def read(folder, pooling, *, ranks):
    """The error about a folder, or its name if there is none, and its tokenizer if that is made from other files."""
    try:
        return str(folder), read_model(folder, pooling=pooling, ranks=ranks).tokenizer()
    except ModelError as error:
        return error.message, None
