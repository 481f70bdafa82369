"""Every family equals transformers, on seeded small random models: alone, beside strangers, cut, and at full length."""

import asyncio
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from embedfleet.engine.builtin import builtin_model
from embedfleet.engine.engine import Engine
from embedfleet.engine.families.registry import MODEL_TYPES
from embedfleet.engine.model import Pooling
from embedfleet.metrics import TEI, Registry
from tests.services.models import SPREAD

TOLERANCE = 1e-5
LONGEST = 48
VOCABULARY = 30522  # of the tokenizer, MiniLM's
NARROW = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": SPREAD,
}


@dataclass(frozen=True)
class Made:
    """How to make a small model of a family.

    Attributes:
        name: of its classes in transformers, before what they are for.
        config: of a body that takes `LONGEST` tokens.
        heads: what it has beside its body.
    """

    name: str
    config: dict[str, object]
    heads: tuple[str, ...] = ("Model", "ForSequenceClassification", "ForMaskedLM")


FAMILIES = {
    "bert": Made("Bert", NARROW | {"max_position_embeddings": LONGEST}),
    "roberta": Made("Roberta", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "xlm-roberta": Made("XLMRoberta", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "camembert": Made("Camembert", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "distilbert": Made(
        "DistilBert",
        {
            "vocab_size": VOCABULARY,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "initializer_range": SPREAD,
            "max_position_embeddings": LONGEST,
        },
    ),
    "mpnet": Made("MPNet", NARROW | {"max_position_embeddings": LONGEST + 2}),
    "modernbert": Made(
        "ModernBert",
        NARROW
        | {"num_hidden_layers": 4, "local_attention": 8, "max_position_embeddings": LONGEST}
        | {"bos_token_id": 101, "eos_token_id": 102, "cls_token_id": 101, "sep_token_id": 102, "pad_token_id": 0},
    ),
    "qwen3": Made(
        "Qwen3",
        NARROW | {"max_position_embeddings": LONGEST, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0},
        ("Model", "ForSequenceClassification"),
    ),
}
TEXTS = [
    "a",
    "two words",
    "deep learning on many short and long texts " * 2,
    "the longest text of all " * 30,
    "é 日 🙂",
]
PAIRS = [("what is a class?", text) for text in TEXTS] + [("a long query " * 30, "a long text " * 30)]


def having(head: str) -> list[str]:
    return [family for family, made in FAMILIES.items() if head in made.heads]


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[..., Path]:
    """Make a family's model once: the same for every test of this module."""
    made: dict[tuple[object, ...], Path] = {}

    def make(family: str, head: str, **config: object) -> Path:
        key = (family, head, *config.items())
        if key not in made:
            made[key] = save(tmp_path_factory.mktemp("model"), FAMILIES[family], head, config)
        return made[key]

    return make


def save(folder: Path, made: Made, head: str, more: dict[str, object]) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{made.name}Config")(**made.config, **more)
    model = getattr(transformers, f"{made.name}{head}")(config)
    for name, parameter in model.named_parameters():  # begun at 0, a bias that is not read would not be missed
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=SPREAD)
    model.save_pretrained(folder)
    shutil.copy(builtin_model() / "tokenizer.json", folder)
    if head == "Model":
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    return folder


def compute(folder, groups, *, direction="right", pooling=None):
    """Of each group of inputs, sent in one request, the inputs' ids and outputs."""
    engine = Engine.load(
        folder,
        pooling=pooling,
        late_interaction=False,
        workers=1,
        tokenization_workers=1,
        batch_tokens=4096,
        max_batch_tokens=16384,
        max_concurrent_requests=512,
        registry=Registry(TEI),
    )

    async def ask(inputs):
        encoded = await engine.encode(inputs, truncate=True, direction=direction, prompt=None)
        inference = await engine.infer(encoded)
        return list(zip(encoded, [rows for (rows,) in inference.outputs], strict=True))

    async def ask_all():
        return [await ask(inputs) for inputs in groups]

    try:
        return asyncio.run(ask_all())
    finally:
        engine.close()


class Reference:
    """A folder's model in transformers, of one input's ids at a time."""

    def __init__(self, folder: Path) -> None:
        import transformers

        (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = getattr(transformers, architecture).from_pretrained(folder).eval()

    def __call__(self, encoded) -> np.ndarray:
        import torch

        feeds = {"input_ids": torch.tensor(encoded.ids[None]), "attention_mask": torch.ones(1, len(encoded.ids))}
        if getattr(self._model.config, "type_vocab_size", 0) > 1:
            feeds["token_type_ids"] = torch.tensor(encoded.types[None])
        with torch.no_grad():
            return self._model(**feeds)[0][0].numpy()


def splade(logits: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(logits, 0)).max(axis=0)


def check(folder, groups, expected: Callable[[object], np.ndarray], **options) -> None:
    for answers in compute(folder, groups, **options):
        for encoded, rows in answers:
            np.testing.assert_allclose(rows, expected(encoded), atol=TOLERANCE, rtol=TOLERANCE)


def test_every_family_is_compared_here():
    assert set(FAMILIES) == set(MODEL_TYPES)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_alone_and_beside_strangers_of_any_length(make, family):
    folder = make(family, "Model")
    check(folder, [TEXTS, *([text] for text in TEXTS)], Reference(folder))


@pytest.mark.parametrize("direction", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_what_is_cut_to_the_longest_input(make, family, direction):
    folder, text = make(family, "Model"), "one two three four " * 30
    ((answer,),) = compute(folder, [[f"start {text} end"]], direction=direction)
    encoded, states = answer
    assert len(encoded.ids) == LONGEST
    np.testing.assert_allclose(states, Reference(folder)(encoded), atol=TOLERANCE)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize(
    "family", [name for name, made in FAMILIES.items() if "ForSequenceClassification" in made.heads]
)
def test_a_classifier_of_several_labels_and_a_reranker_of_one(make, family, labels):
    folder = make(family, "ForSequenceClassification", num_labels=labels)
    check(folder, [PAIRS, *([pair] for pair in PAIRS)], Reference(folder))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "own decoder"])
@pytest.mark.parametrize("family", having("ForMaskedLM"))
def test_splade(make, family, tied):
    folder = make(family, "ForMaskedLM", tie_word_embeddings=tied)
    reference = Reference(folder)
    check(folder, [TEXTS, TEXTS[:1]], lambda encoded: splade(reference(encoded)), pooling=Pooling.SPLADE)
