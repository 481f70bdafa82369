"""Any JSON in a model folder gets a verdict, and a folder that is rewritten by its verdict needs no further change."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.tei.assembly import assemble
from embedfleet.control.tei.folder import judge
from embedfleet.control.tei.verdict import Target
from tests.services.tei_folders import DENSE, EMBEDDER, NEW, RANKER, folder, modules, rewritten
from tests.services.tei_published import EMBEDDERS, RANKERS

ODD = st.sampled_from([None, True, False, -1, 0, 1, 3, 512, 2**70, 1.5, 1e30, "", "gelu", "mean", "1_Pooling", "bert"])
VALUES = st.one_of(
    ODD,
    st.lists(ODD, max_size=2),
    st.dictionaries(st.sampled_from(["0", "rope_type", "type", "factor", "path", "query", "full_attention"]), ODD),
)
CONFIGS = [config for config, _ in (*EMBEDDERS.values(), *RANKERS.values())]
FILES = {
    **EMBEDDER,
    "2_Dense/config.json": DENSE,
    "3_Pooling/config.json": {"pooling_mode": "cls"},
    "config_sentence_transformers.json": {"prompts": {"query": "q: "}, "default_prompt_name": "query"},
    "tokenizer_config.json": {"model_max_length": 64},
    "model.safetensors.index.json": {"weight_map": {"a": "model-00001-of-00002.safetensors"}},
}
EXTRA = ["rope_parameters", "rope_scaling", "id2label", "label2id", "num_labels", "layer_types", "pooling_mode"]
TARGETS = st.builds(
    Target,
    version=st.sampled_from([(1, 2, 0), (1, 8, 3), (1, 9, 3), (999, 0, 0)]),
    on_gpu=st.booleans(),
    flash=st.booleans(),
    dtype=st.sampled_from(["auto", "float16", "float32"]),
    pooling=st.sampled_from(["auto", "auto", "mean", "splade", "max"]),
    task=st.sampled_from(["auto", "embed", "rerank"]),
)


@st.composite
def folders(draw):
    """A folder of some family, with arbitrary content in some files and values."""
    steps = draw(st.permutations([*NEW, "LSTM"]))[: draw(st.integers(0, 4))]
    rows = modules("Transformer", *steps, new=draw(st.booleans()))
    files = FILES | {"config.json": draw(st.sampled_from([*CONFIGS, RANKER["config.json"]])), "modules.json": rows}
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(sorted(files)))
        if isinstance(files[name], dict):
            key = draw(st.sampled_from([*files[name], *EXTRA]))
            files = files | {name: files[name] | {key: draw(VALUES)}}
        elif draw(st.booleans()):
            files = files | {name: draw(st.one_of(VALUES, st.just(modules("Transformer", "Pooling"))))}
    sizes = {*files, "tokenizer.json"} | draw(
        st.sets(
            st.sampled_from(["model.safetensors", "onnx/model.onnx", "pytorch_model.bin", "2_Dense/model.safetensors"])
        )
    )
    found = folder(files, head=draw(st.sampled_from([0, 1, 2])), sizes=dict.fromkeys(sorted(sizes), 10))
    odd = draw(st.sets(st.sampled_from(sorted(files))))
    return replace(found, odd=frozenset(odd), zipped=frozenset({"pytorch_model.bin"}))


@given(found=folders(), target=TARGETS)
def test_there_is_a_verdict_and_what_it_writes_needs_no_other(found, target):
    verdict = judge(found, target)
    assert [verdict.refuses, verdict.serves_as_it_is, verdict.serves_rewritten].count(True) == 1
    assert all(refusal.reason and refusal.hint for refusal in verdict.refusals)
    assert str(verdict)
    if verdict.refuses:
        assert not verdict.files
        assert not verdict.flags
        return
    assert {change.file for change in verdict.changes} - {""} == verdict.files.keys()
    assert (assemble(found, verdict) is None) == (not verdict.files)
    again = judge(rewritten(found, verdict), replace(target, has_prompt=True))
    assert again.serves_as_it_is, f"{verdict} | {again}"
    assert again.max_input_length == verdict.max_input_length
