"""Generative rerankers score as sentence-transformers' CrossEncoder on the same folder, or are refused."""

import asyncio
import json
import shutil
import warnings

import numpy as np
import pytest

from embedfleet.dialects.serving.tei import PredictRequest, RerankRequest, Truncation
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.engine import load
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.engine.model.source import files_to_read
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError, WrongInput
from embedfleet.metrics import TEI, Registry
from tests.services.models import SPREAD
from tests.unit.engine.model.test_reranker_prompt import TEMPLATES

TEMPLATE = TEMPLATES["as Qwen3-Reranker's"]
PLAIN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
LONGEST, VOCABULARY = 160, 420
QUERY = "what is a\n class?"
TEXTS = ["yes", "no  two words", "é 日 🙂 <|im_end|>", "", "a text that is much too long " * 40]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    """Makes small seeded generative models in the layout of transformers."""
    made = {}

    def make(family="Qwen3", *, tied=True, template=TEMPLATE):
        key = (family, tied, template)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("body") / "m"
            save_body(made[key], family, tied, template)
        return made[key]

    return make


def save_body(folder, family, tied, template):
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=tied,
        initializer_range=SPREAD,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=0,
    )
    getattr(transformers, f"{family.removesuffix('Text')}ForCausalLM")(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)


def tokenizer():
    """A byte-level BPE tokenizer like Qwen's, which keeps all white space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    whole = Tokenizer(models.BPE())
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    whole.train_from_iterator(["yes", "no", "yes no a text of many words, what is it about?"] * 9, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, eos_token="<|endoftext|>", pad_token="<|endoftext|>", model_max_length=LONGEST
    )


def saved(body, folder, *, yes=None, no=None, prompts=None, default=None, length=LONGEST):
    """Save a CrossEncoder with the library; returns the folder and the CrossEncoder."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import LogitScore

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CrossEncoder(str(body), device="cpu", max_length=length, prompts=prompts, default_prompt_name=default)
        if yes is not None:
            model[1] = LogitScore(yes, no)
        model.save_pretrained(str(folder))
    return folder, model


def scores(folder, query=QUERY, texts=TEXTS, *, backend="onnx", direction="right", **settings):
    settings = EngineSettings(model=str(folder), backend=backend, **settings)
    engine = load(settings, Registry(TEI))
    request = RerankRequest(query, texts, Truncation(True, direction), raw_scores=True, return_text=False)
    try:
        return asyncio.run(Operations(engine, settings).rerank(request))[0]
    finally:
        engine.close()


def expected(model, query=QUERY, texts=TEXTS, **options):
    import torch

    return model.predict([(query, text) for text in texts], activation_fn=torch.nn.Identity(), **options)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "own head"])
@pytest.mark.parametrize("family", ["Qwen3", "Qwen2", "Llama", "Gemma3Text"])
def test_scores_are_the_librarys(bodies, tmp_path, family, tied, backend):
    folder, model = saved(bodies(family, tied=tied), tmp_path / "m")
    assert read_model(folder).kind == "reranker"
    wanted = expected(model)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(scores(folder, backend=backend), wanted, atol=1e-5, rtol=1e-5)
    alone = [scores(folder, texts=[text], backend=backend)[0] for text in TEXTS[-2:]]
    np.testing.assert_allclose(alone, wanted[-2:], atol=1e-5, rtol=1e-5)


def test_scores_of_other_words_and_of_one_word(bodies, tmp_path):
    for number, (yes, no) in enumerate([(300, 7), (12, None)]):
        folder, model = saved(bodies(), tmp_path / str(number), yes=yes, no=no)
        np.testing.assert_allclose(scores(folder), expected(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "as Qwen3-Reranker's"])
def test_scores_by_other_templates(bodies, tmp_path, name):
    folder, model = saved(bodies(template=TEMPLATES[name]), tmp_path / "m")
    np.testing.assert_allclose(scores(folder), expected(model), atol=1e-5, rtol=1e-5)


def test_an_instruction_is_the_folders_default_prompt_or_the_servers(bodies, tmp_path):
    prompts = {"colour": "Judge by colour", "shape": "Judge by shape"}
    folder, model = saved(bodies(), tmp_path / "m", prompts=prompts, default="colour")
    plain = scores(bodies())
    for found, options in (
        (scores(folder), {}),
        (scores(folder, default_prompt_name="shape"), {"prompt_name": "shape"}),
        (scores(folder, default_prompt="By " + "size " * 20), {"prompt": "By " + "size " * 20}),
    ):
        wanted = expected(model, **options)
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)
        assert abs(wanted - plain).max() > 1e-3


def test_a_folder_with_no_modules_says_it_by_its_chat_template(bodies, tmp_path):
    from sentence_transformers import CrossEncoder

    folder = shutil.copytree(bodies(), tmp_path / "m")
    wanted = expected(CrossEncoder(str(folder), device="cpu", max_length=LONGEST))
    np.testing.assert_allclose(scores(folder), wanted, atol=1e-5, rtol=1e-5)
    rewrite(folder / "tokenizer_config.json", chat_template=[{"name": "default", "template": TEMPLATE}])
    (folder / "chat_template.jinja").unlink()
    np.testing.assert_allclose(scores(folder, pooling="mean"), wanted, atol=1e-5, rtol=1e-5)


def test_pairs_that_do_not_go_through_the_template_are_the_tokenizers(bodies, tmp_path):
    from sentence_transformers import CrossEncoder

    folder, _ = saved(bodies(), tmp_path / "m")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"transformer_task": "text-generation"}))
    model = CrossEncoder(str(folder), device="cpu", max_length=LONGEST)
    np.testing.assert_allclose(scores(folder, texts=TEXTS[:3]), expected(model, texts=TEXTS[:3]), atol=1e-5, rtol=1e-5)


def test_a_classifier_reads_pairs_through_the_template_where_its_folder_says_so(bodies, tmp_path):
    import torch
    import transformers

    body = shutil.copytree(bodies(), tmp_path / "body")
    torch.manual_seed(1)
    config = transformers.Qwen3Config.from_pretrained(body, num_labels=1)
    transformers.Qwen3ForSequenceClassification(config).save_pretrained(body)
    folder, model = saved(body, tmp_path / "m")
    np.testing.assert_allclose(scores(folder), expected(model), atol=1e-5, rtol=1e-5)


def test_cut_on_the_left_it_still_begins_as_it_was_told(bodies):
    engine = load(EngineSettings(model=str(bodies())), Registry(TEI))

    async def encode(direction):
        pairs = [(QUERY, TEXTS[-1]), (QUERY, TEXTS[0])]
        return await engine.encode(pairs, truncate=True, direction=direction, prompt=None)

    try:
        (left, whole), (right, _) = (asyncio.run(encode(direction)) for direction in ("left", "right"))
    finally:
        engine.close()
    assert len(left.ids) == len(right.ids) == LONGEST
    for cut in (left, right):
        assert cut.ids[:40].tolist() == whole.ids[:40].tolist()
        assert cut.ids[-8:].tolist() == whole.ids[-8:].tolist()
    assert left.ids.tolist() != right.ids.tolist()


def test_packed_weights_give_the_same_scores(bodies, tmp_path):
    own = scores(bodies(tied=False))
    for _ in range(2):
        np.testing.assert_array_equal(scores(bodies(tied=False), packed_dir=str(tmp_path / "packed")), own)


def test_a_single_text_is_no_question(bodies):
    settings = EngineSettings(model=str(bodies()))
    engine = load(settings, Registry(TEI))
    operations = Operations(engine, settings)
    try:
        request = PredictRequest([(QUERY, "a")], batch=True, truncation=Truncation(), raw_scores=True)
        ((answer,),), _ = asyncio.run(operations.predict(request))
        assert answer["label"] == "LABEL_0"
        request = PredictRequest(["a"], batch=True, truncation=Truncation(), raw_scores=True)
        with pytest.raises(WrongInput, match="scores pairs"):
            asyncio.run(operations.predict(request))
    finally:
        engine.close()


def rewrite(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_model_that_generates_and_does_not_say_what_it_is_asked_is_refused(bodies, tmp_path):
    folder = shutil.copytree(bodies(template=PLAIN), tmp_path / "m")
    with pytest.raises(ModelError, match="'Qwen3ForCausalLM', a model that generates text") as caught:
        read_model(folder)
    assert "LogitScore" in caught.value.hint or "CrossEncoder" in caught.value.hint
    assert read_model(folder, pooling=Pooling.LAST_TOKEN).kind == "embedding"
    with pytest.raises(ModelError, match="a model that generates text"):
        load(EngineSettings(model=str(folder), pooling="last-token", task="rerank"), Registry(TEI))


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        (
            "1_LogitScore/config.json",
            {"true_token_id": VOCABULARY},
            f"uses token {VOCABULARY}, the model's last token is",
        ),
        ("1_LogitScore/config.json", {"true_token_id": None}, "`true_token_id` is None"),
        ("1_LogitScore/config.json", {"module_input_name": "logits"}, "module_input_name 'logits' is not supported"),
        (
            "sentence_bert_config.json",
            {"processing_kwargs": {"text": {"max_length": 9}}},
            "`processing_kwargs` has 'text'",
        ),
        (
            "sentence_bert_config.json",
            {"processing_kwargs": {"chat_template": {"restore_suffix": False}}},
            "`processing_kwargs` has 'restore_suffix'",
        ),
        (
            "sentence_bert_config.json",
            {"modality_config": {"message": {"format": "structured"}}},
            "`format` of `message` is 'structured'",
        ),
        ("config.json", {"final_logit_softcapping": 30.0}, "`final_logit_softcapping` is 30.0"),
        ("config.json", {"tie_word_embeddings": False}, "tensor lm_head.weight is missing"),
    ],
)
def test_what_a_folder_asks_for_and_we_do_not_compute_is_refused_by_its_key(bodies, tmp_path, file, values, message):
    folder, _ = saved(bodies(), tmp_path / "m")
    rewrite(folder / file, **values)
    with pytest.raises(ModelError, match=message):
        load(EngineSettings(model=str(folder)), Registry(TEI))


@pytest.mark.parametrize(
    ("template", "message"),
    [(TEMPLATE + "{{ bos_token }}", "expression 'bos_token'"), (PLAIN, "does not have the roles query and document")],
)
def test_a_template_that_is_not_read_is_refused(bodies, tmp_path, template, message):
    folder, _ = saved(bodies(), tmp_path / "m")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=rf"chat_template.jinja: .*chat template.*{message}"):
        read_model(folder)


def test_another_module_beside_it_is_refused(bodies, tmp_path):
    folder, _ = saved(bodies(), tmp_path / "m")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.base.modules.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="module 'Dense' is not supported beside LogitScore"):
        read_model(folder)


def test_an_embedder_whose_texts_go_through_the_template_is_refused(bodies, tmp_path):
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SentenceTransformer(str(bodies(template=PLAIN)), device="cpu").save_pretrained(str(tmp_path / "m"))
    with pytest.raises(ModelError, match="`modality_config` has 'message'"):
        read_model(tmp_path / "m")


def test_of_a_hub_id_the_template_and_the_module_are_brought_too():
    names = ["config.json", "chat_template.jinja", "tokenizer_config.json", "modules.json", "1_LogitScore/config.json"]
    assert files_to_read([*names, "README.md"]) == sorted(names)
