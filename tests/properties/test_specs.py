"""Fields of a container's spec: all but the image's tars change its fingerprint, and few change what it computes."""

from dataclasses import fields, replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.plan.specs import ContainerSpec, Mount

words = st.text(max_size=6)
mounts = st.builds(Mount, words, words, st.booleans())
VALUES: dict[str, st.SearchStrategy] = {
    "name": words,
    "service": words,
    "kind": st.sampled_from(["replica", "balancer"]),
    "image": words,
    "tars": st.lists(words.map(Path), max_size=2).map(tuple),
    "arguments": st.lists(words, max_size=3).map(tuple),
    "entrypoint": st.lists(words, max_size=2).map(tuple),
    "environment": st.dictionaries(words, words, max_size=2),
    "mounts": st.lists(mounts, max_size=2).map(tuple),
    "network": words,
    "gpu": words,
    "port": st.integers(0, 65535),
    "publish": st.none() | st.tuples(words, st.integers(0, 65535)),
    "model": words,
    "weights": words,
    "reading": words,
}
specs = st.builds(ContainerSpec, **VALUES)
COMPUTES = {"model", "weights", "reading"}


def test_every_field_is_tried():
    assert {item.name for item in fields(ContainerSpec)} == set(VALUES)


@given(specs, st.sampled_from(sorted(VALUES)), st.data())
def test_any_changed_field_except_the_image_tars_changes_the_fingerprint(spec, name, data):
    changed = replace(spec, **{name: data.draw(VALUES[name])})
    is_other = getattr(changed, name) != getattr(spec, name) and name != "tars"
    assert (changed.fingerprint != spec.fingerprint) == is_other
    if name not in COMPUTES:
        assert changed.computes == spec.computes


@given(specs, st.text("abc", min_size=1, max_size=4), st.text("def", min_size=1, max_size=4))
def test_results_depend_on_the_name_of_the_model_folder_and_not_on_its_place(spec, one, other):
    assert replace(spec, model=f"/{one}/m").computes == replace(spec, model=f"/{other}/m").computes
    assert replace(spec, weights=one).computes != replace(spec, weights=other).computes
    assert replace(spec, model=f"/x/{one}").computes != replace(spec, model=f"/x/{other}").computes
