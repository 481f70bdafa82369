"""For model folders as the libraries write them, our engine's numbers equal those of the libraries."""

import asyncio
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from embedfleet.dialects.serving.tei import EmbedRequest, PredictRequest, RerankRequest, Truncation
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.engine import load
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError
from embedfleet.metrics import TEI, Registry
from embedfleet.model_folder import file_names
from embedfleet.model_folder.keys.key import Verdict
from embedfleet.model_folder.keys.table import KEYS
from tests.services.folder_cases import CASES
from tests.services.folders import QUERY, TEXTS, Case, Folders, change, expected

CUT = Truncation(truncate=True)
# Keys that change no number: with all of a file's keys set, the libraries' numbers and ours stay the same.
HARMLESS = {
    file_names.CONFIG: {
        "num_labels": 2,
        "label2id": {"LABEL_0": 0, "LABEL_1": 1},
        "problem_type": "regression",
        "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
        "sentence_transformers": {"version": "6.2.0", "activation_fn": "torch.nn.modules.linear.Identity"},
        "dtype": "float32",
        "torch_dtype": "float32",
        "hidden_dropout_prob": 0.5,
        "attention_probs_dropout_prob": 0.5,
        "classifier_dropout": 0.5,
        "initializer_range": 7.0,
        "tie_word_embeddings": False,
        "use_cache": False,
        "gradient_checkpointing": True,
        "transformers_version": "4.0.0",
        "_name_or_path": "/nowhere",
        "chunk_size_feed_forward": 0,
        "output_attentions": False,
        "output_hidden_states": False,
        "return_dict": True,
        "bos_token_id": 5,
        "eos_token_id": 6,
    },
    file_names.SENTENCE_BERT_CONFIG: {"unpad_inputs": False},
    file_names.SENTENCE_TRANSFORMERS_CONFIG: {
        "similarity_fn_name": "dot",
        "model_type": "SentenceTransformer",
        "__version__": {"sentence_transformers": "2.0.0"},
        "requirements": None,
        "activation_fn": "torch.nn.modules.linear.Identity",
        "keep_in_fp32_modules": None,
    },
    file_names.POOLING_CONFIG: {"embedding_dimension": 32},
    file_names.TOKENIZER_CONFIG: {
        "padding_side": "left",
        "chat_template": "{{ messages }}",
        "clean_up_tokenization_spaces": True,
        "add_bos_token": True,
        "add_eos_token": True,
    },
    file_names.TOKENIZER: {
        "truncation": {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": 8}
        | {"pad_id": 3, "pad_type_id": 1, "pad_token": "x"},
    },
}
# Keys that are refused: file and key → value. Each is set alone.
REFUSED = {
    (file_names.CONFIG, "auto_map"): {"AutoModel": "acme/other--modeling_own.OwnModel"},
    (file_names.CONFIG, "position_embedding_type"): "relative_key",
    (file_names.CONFIG, "is_decoder"): True,
    (file_names.CONFIG, "add_cross_attention"): True,
    (file_names.CONFIG, "pruned_heads"): {"0": [1]},
    (file_names.CONFIG, "quantization_config"): {"quant_method": "bitsandbytes", "load_in_4bit": True},
    (file_names.SENTENCE_BERT_CONFIG, "transformer_task"): "text-generation",
    (file_names.SENTENCE_BERT_CONFIG, "modality_config"): {
        "text": {"method": "get_text_features", "method_output_name": "pooler_output"}
    },
    (file_names.SENTENCE_BERT_CONFIG, "module_output_name"): "sentence_embedding",
    (file_names.SENTENCE_BERT_CONFIG, "model_args"): {"subfolder": "other"},
    (file_names.SENTENCE_BERT_CONFIG, "model_kwargs"): {"variant": "fp16"},
    (file_names.SENTENCE_BERT_CONFIG, "config_args"): {"num_hidden_layers": 1},
    (file_names.SENTENCE_BERT_CONFIG, "config_kwargs"): {"hidden_act": "relu"},
    (file_names.SENTENCE_BERT_CONFIG, "tokenizer_args"): {"do_lower_case": False},
    (file_names.SENTENCE_BERT_CONFIG, "processor_kwargs"): {"truncation_side": "left"},
    (file_names.SENTENCE_BERT_CONFIG, "processing_kwargs"): {"text": {"max_length": 4}},
    (file_names.SENTENCE_BERT_CONFIG, "query_length"): 8,
    (file_names.SENTENCE_BERT_CONFIG, "document_length"): 9,
    (file_names.SENTENCE_BERT_CONFIG, "query_expansion"): {"strategy": "mask"},
    (file_names.SENTENCE_TRANSFORMERS_CONFIG, "max_active_dims"): 4,
    (file_names.DENSE_CONFIG, "module_input_name"): "token_embeddings",
    (file_names.DENSE_CONFIG, "module_output_name"): "token_embeddings",
    (file_names.NORMALIZE_CONFIG, "module_input_name"): "token_embeddings",
    (file_names.NORMALIZE_CONFIG, "module_output_name"): "token_embeddings",
    (file_names.SPLADE_CONFIG, "pooling_strategy"): "sum",
    (file_names.SPLADE_CONFIG, "activation_function"): "log1p_relu",
    (file_names.TOKENIZER_CONFIG, "truncation_side"): "left",
    (file_names.TOKENIZER_CONFIG, "split_special_tokens"): True,
    (file_names.TOKENIZER_CONFIG, "fast_tokenizer_files"): ["tokenizer.4.0.0.json"],
}
# Honoured keys → a case with them. Other tests show their effect, or the case has no base to differ from.
SHOWN = {
    (file_names.CONFIG, "model_type"): "bert embedder",
    (file_names.CONFIG, "architectures"): "a head that is not named",
    (file_names.CONFIG, "id2label"): "bert reranker",
    (file_names.CONFIG, "num_labels"): "three labels by their number",
    (file_names.CONFIG, "hidden_activation"): "modernbert embedder",
    (file_names.CONFIG, "type_vocab_size"): "bert by its defaults",
    (file_names.POOLING_CONFIG, "pooling_mode"): "pooling max",
    (file_names.POOLING_CONFIG, "pooling_mode_mean_tokens"): "old layout",
    (file_names.POOLING_CONFIG, "include_prompt"): "pooled without its prompt, mean",
    **{
        (file_names.CONFIG, name): "bert embedder"
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")
    },
    **{(file_names.CONFIG, name): "bert embedder" for name in ("intermediate_size", "vocab_size")},
    (file_names.CONFIG, "max_position_embeddings"): "no length",
    **{(file_names.TOKENIZER_CONFIG, name): "vocab.txt" for name in ("tokenizer_class", "cls_token", "sep_token")},
    **{
        (file_names.TOKENIZER_CONFIG, name): "vocab.txt"
        for name in ("unk_token", "added_tokens_decoder", "keep_accents")
    },
    **{
        (file_names.TOKENIZER_CONFIG, f"{role}_token"): "a word that is special"
        for role in ("bos", "eos", "pad", "mask")
    },
    **{(file_names.SPECIAL_TOKENS_MAP, name): "vocab.txt" for name in ("cls_token", "sep_token", "unk_token")},
}


@dataclass
class Shelf:
    """All folders with the numbers that the libraries computed for each, made on first use."""

    folders: Folders
    numbers: dict[str, np.ndarray]

    def folder(self, name: str):
        folder = self.folders.home / name
        if not folder.exists():
            CASES[name].make(self.folders, folder)
        return folder

    def expected(self, name: str) -> np.ndarray:
        if name not in self.numbers:
            self.numbers[name] = expected(self.folder(name), CASES[name])
        return self.numbers[name]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(Folders(tmp_path_factory.mktemp("folders")), {})


def served(folder, case: Case) -> np.ndarray:
    """Compute numbers with the engine's operations."""
    task = "rerank" if case.task == "rerank" else "embed"
    settings = EngineSettings(model=str(folder), task=task)
    engine = load(settings, Registry(TEI))
    try:
        return asyncio.run(_ask(Operations(engine, settings), engine.spec, case))
    finally:
        engine.close()


async def _ask(work: Operations, spec, case: Case) -> np.ndarray:
    if case.task == "rerank":
        return (await work.rerank(RerankRequest(QUERY, TEXTS, CUT, raw_scores=True, return_text=False)))[0]
    if case.task == "predict":
        pairs = [(QUERY, text) for text in TEXTS]
        found, _ = await work.predict(PredictRequest(pairs, True, CUT, raw_scores=True))
        names = [spec.id2label[number] for number in range(len(spec.id2label))]
        assert names == [f"LABEL_{number}" for number in range(len(names))]
        return np.array([[{entry["label"]: entry["score"] for entry in row}[name] for name in names] for row in found])
    request = EmbedRequest(TEXTS, True, CUT, case.prompt, normalize=case.of_length_one, dimensions=None)
    return (await work.embed(request))[0]


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_the_libraries(shelf, name):
    case = CASES[name]
    found, right = served(shelf.folder(name), case), shelf.expected(name)
    assert found.shape == right.shape
    np.testing.assert_allclose(found, right, atol=1e-5, rtol=1e-5)
    if case.base:
        other = shelf.expected(case.base)
        assert other.shape != right.shape or np.abs(other - right).max() > 1e-3


def stated(*verdicts: Verdict) -> set[tuple[str, str]]:
    """Keys of the table, as file and key, for which our engine has one of the verdicts."""
    return {(key.file, name) for key in KEYS for name in key.keys if key.engine in verdicts}


def test_every_key_of_the_table_is_shown_to_be_what_it_says():
    honoured = {key for case in CASES.values() for key in case.keys} | set(SHOWN)
    assert honoured == stated(Verdict.HONOURED)
    assert set(REFUSED) == stated(Verdict.REFUSED)
    unread = {(file_names.MODULES, "idx"), (file_names.MODULES, "name"), (file_names.MODULES, "kwargs")}
    unread |= {
        (file_names.POOLING_CONFIG, "word_embedding_dimension"),
        (file_names.SPLADE_CONFIG, "embedding_dimension"),
    }
    unread |= {(file_names.SPLADE_CONFIG, "word_embedding_dimension")}
    harmless = {(file, name) for file, values in HARMLESS.items() for name in values}
    assert harmless - {(file_names.CONFIG, "num_labels")} | unread == stated(Verdict.HARMLESS)
    assert set(SHOWN.values()) <= set(CASES)


@pytest.mark.parametrize("file", HARMLESS)
def test_on_what_is_harmless_no_number_depends(shelf, tmp_path, file):
    folder = shutil.copytree(shelf.folder("bert embedder"), tmp_path / "m")
    change(folder / file, **HARMLESS[file])
    case = CASES["bert embedder"]
    right = shelf.expected("bert embedder")
    np.testing.assert_allclose(served(folder, case), right, atol=1e-5)
    change(folder / file_names.CONFIG, without=("auto_map",))  # the libraries would fetch the code that it names
    np.testing.assert_allclose(expected(folder, case), right, atol=1e-5)


@pytest.mark.parametrize(("file", "key"), REFUSED)
def test_what_is_refused_is_refused_by_file_and_key(shelf, tmp_path, file, key):
    base = "bert splade" if file == file_names.SPLADE_CONFIG else "dense and length"
    folder = shutil.copytree(shelf.folder(base), tmp_path / "m")
    read_model(folder)
    change(folder / file, **{key: REFUSED[file, key]})
    with pytest.raises(ModelError) as caught:
        read_model(folder)
    assert str(folder / file) in caught.value.message
    assert key in caught.value.message


def test_an_adapter_beside_the_weights_is_refused(shelf, tmp_path):
    folder = shutil.copytree(shelf.folder("bert embedder"), tmp_path / "m")
    change(folder / file_names.ADAPTER_CONFIG, peft_type="LORA")
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        read_model(folder)
