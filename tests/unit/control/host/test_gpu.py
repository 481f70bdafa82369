"""A GPU type in any spelling leads to the image that TEI has for it."""

import pytest

from embedfleet.control.host.gpu import FAMILIES, Gpu, family_of, family_of_type, select
from embedfleet.errors import UsageError

T4 = Gpu(0, "GPU-a", "Tesla T4", 75, 16 << 30, 15 << 30)
H100 = Gpu(1, "GPU-b", "NVIDIA H100 80GB HBM3", 90, 80 << 30, 79 << 30)


@pytest.mark.parametrize(
    ("name", "image", "tar"),
    [
        ("T4", "tei:turing-1.9.3", "text-embeddings-inference-turing.tar"),
        ("A100", "tei:1.9.3", "text-embeddings-inference-ampere80.tar"),
        ("L4", "tei:89-1.9.3", "text-embeddings-inference-adalovelace.tar"),
        ("H100", "tei:hopper-1.9.3", "text-embeddings-inference-hopper.tar"),
        ("A10", "tei:86-1.9.3", "text-embeddings-inference-ampere86.tar"),
        ("B200", "tei:100-1.9.3", "text-embeddings-inference-blackwell100.tar"),
        ("RTX5090", "tei:120-1.9.3", "text-embeddings-inference-blackwell120.tar"),
        ("cpu", "tei:cpu-1.9.3", "text-embeddings-inference-cpu.tar"),
    ],
)
def test_every_type_has_its_image_and_its_tar(name, image, tar):
    family = family_of_type(name)
    assert (family.image("tei", "1.9.3"), family.tar) == (image, tar)


@pytest.mark.parametrize(
    ("spelling", "capability"),
    [
        ("h200", 90),
        ("RTX-4090", 89),
        ("NVIDIA GeForce RTX 3090", 86),
        ("Tesla T4", 75),
        ("NVIDIA A100-SXM4-80GB", 80),
        ("NVIDIA H100 80GB HBM3", 90),
        ("NVIDIA A30", 80),
        ("nvidia l40s", 89),
    ],
)
def test_a_type_is_known_in_every_spelling(spelling, capability):
    assert family_of_type(spelling).capability == capability


@pytest.mark.parametrize("name", ["K80", "TPU", "T44", ""])
def test_the_hint_for_an_unknown_type_lists_the_known_ones(name):
    with pytest.raises(UsageError, match=f"unknown GPU type {name}") as caught:
        family_of_type(name)
    for known in ("T4", "L4", "A100", "H100", "CPU"):
        assert known in caught.value.hint.replace(";", ",").replace("known: ", "").split(", ")


def test_no_two_families_share_a_capability_or_a_tar():
    assert len({family.capability for family in FAMILIES}) == len(FAMILIES)
    assert len({family.tar for family in FAMILIES}) == len(FAMILIES)


def test_only_turing_has_no_flash_attention():
    assert [family.name for family in FAMILIES if not family.flash_attention] == ["turing"]


def test_a_gpu_that_tei_has_no_image_for_is_named_with_its_capability():
    volta = Gpu(3, "GPU-v", "Tesla V100", 70, 0, 0)
    with pytest.raises(UsageError, match=r"GPU 3 \(Tesla V100\) has compute capability 7.0") as caught:
        family_of(volta)
    assert "7.5, 8.0" in caught.value.hint


def test_gpus_are_chosen_by_index_or_uuid_in_the_order_given():
    assert select([T4, H100], "auto") == (T4, H100)
    assert select([T4, H100], ("GPU-b", "0")) == (H100, T4)


def test_a_missing_gpu_is_reported_with_the_existing_ones():
    with pytest.raises(UsageError, match="there is no GPU 7") as caught:
        select([T4, H100], ("7",))
    assert caught.value.hint == "GPUs of this machine: 0 (GPU-a), 1 (GPU-b)"
    with pytest.raises(UsageError) as caught:
        select([], ("0",))
    assert caught.value.hint == "GPUs of this machine: none"


@pytest.mark.parametrize("names", [["0", "0"], ["1", "GPU-b", "0"]])
def test_a_gpu_that_is_named_twice_is_refused_with_both_names(names):
    with pytest.raises(UsageError, match=f"twice, as {names[0]} and {names[1]}") as caught:
        select([T4, H100], names)
    assert "`replicas`" in caught.value.hint
