"""``/info`` follows from the settings and the model, in TEI's types and order."""

from dataclasses import replace

import orjson
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.api.info import info, model_type
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.probe.fingerprint import Fingerprint

SPEC = read_model(builtin_model())
TEI_FIELDS = [  # TEI 1.9, router/src/lib.rs: struct Info
    "model_id",
    "model_sha",
    "model_dtype",
    "served_model_name",
    "model_type",
    "max_concurrent_requests",
    "max_input_length",
    "max_batch_tokens",
    "max_batch_requests",
    "max_client_batch_size",
    "auto_truncate",
    "tokenization_workers",
    "version",
    "sha",
    "docker_label",
]

texts = st.text(min_size=1, max_size=20)
counts = st.integers(1, 10**6)
settings = st.builds(
    EngineSettings,
    model=texts,
    served_model_name=texts | st.just(""),
    max_concurrent_requests=counts,
    max_client_batch_size=counts,
    auto_truncate=st.booleans(),
)
labels = st.dictionaries(st.integers(0, 99), texts, min_size=1, max_size=5).filter(
    lambda found: len(set(found.values())) == len(found)
)


@given(settings, st.booleans(), st.sampled_from(["float32", "int8", "bfloat16"]))
def test_the_fields_are_teis_in_teis_order_and_then_ours(given_settings, late_interaction, precision):
    found = info(SPEC, given_settings, late_interaction=late_interaction, precision=precision)
    assert [*found] == [*TEI_FIELDS, "engine"]
    assert orjson.loads(orjson.dumps(found)) == found, "numbers of labels are strings, as keys in JSON are"
    assert found["served_model_name"] == (given_settings.served_model_name or given_settings.model)
    for name in ("max_concurrent_requests", "max_client_batch_size", "max_batch_tokens", "auto_truncate"):
        assert found[name] == getattr(given_settings, name)
    assert (found["model_id"], found["model_dtype"]) == (given_settings.model, precision)


@given(settings, st.sampled_from(Pooling))
def test_a_gateway_recognises_an_embedder_by_its_info(given_settings, pooling):
    spec = replace(SPEC, pooling=pooling)
    found = Fingerprint.of(info(spec, given_settings, late_interaction=False, precision="float32"))
    assert (found.task, found.pooling, found.labels) == ("embedding", pooling.value, "{}")
    assert found.model == given_settings.model.rstrip("/").rpartition("/")[2]


@given(labels, st.sampled_from(["reranker", "classifier"]))
def test_labels_are_listed_in_both_directions(id2label, kind):
    ((task, told),) = model_type(
        replace(SPEC, pooling=None, kind=kind, id2label=id2label), late_interaction=False
    ).items()
    assert task == kind
    assert {int(number): label for number, label in told["id2label"].items()} == id2label
    assert {number: label for label, number in told["label2id"].items()} == id2label


@given(labels, st.sampled_from([None, Pooling.MEAN]))
def test_late_interaction_is_a_reranker_whatever_the_folder_says(id2label, pooling):
    spec = replace(SPEC, pooling=pooling, id2label=id2label)
    one = {"id2label": {"0": "late_interaction"}, "label2id": {"late_interaction": 0}}
    assert model_type(spec, late_interaction=True) == {"reranker": one}
