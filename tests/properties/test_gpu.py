"""A GPU's type is found in any form of its name, and a selection has each named GPU once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.host.gpu import FAMILIES, Gpu, family_of, family_of_type, placeholder_gpus, plain, select
from embedfleet.errors import UsageError

TYPES = [(family, kind) for family in FAMILIES for kind in family.types]
makers = st.sampled_from(["", "NVIDIA ", "Tesla ", "NVIDIA GeForce ", "Quadro ", "nvidia "])
forms = st.sampled_from(["", " PCIe", "-PCIE", " SXM4", "-SXM", " NVL", " HBM3", " 80GB HBM2e", "-SXM4-80GB", " 24 GB"])


@given(st.sampled_from(TYPES), makers, forms, st.booleans())
def test_a_type_is_found_by_any_name_of_it(case, maker, form, is_lower):
    family, kind = case
    name = f"{maker}{kind}{form}"
    assert plain(name) == kind
    assert family_of_type(name.lower() if is_lower else name) is family
    for gpu in placeholder_gpus(name):
        assert family_of(gpu) is family


@given(st.text(max_size=20))
def test_any_name_has_a_family_or_is_refused_with_the_known_types(name):
    if any(plain(name) == kind for _, kind in TYPES):
        assert plain(name) in family_of_type(name).types
        return
    assert placeholder_gpus(name) == ()
    with pytest.raises(UsageError) as caught:
        family_of_type(name)
    assert all(kind in caught.value.hint for _, kind in TYPES)


@given(st.integers(0, 6), st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=1, max_size=7))
def test_gpus_are_chosen_in_the_order_named_each_once_or_refused(count, named):
    gpus = [Gpu(n, f"GPU-{n}", "T4", 75, 0, 0) for n in range(count)]
    wanted = [f"GPU-{number}" if by_uuid else str(number) for number, by_uuid in named]
    numbers = [number for number, _ in named]
    if max(numbers) < count and len(set(numbers)) == len(numbers):
        assert [gpu.index for gpu in select(gpus, wanted)] == numbers
    else:
        with pytest.raises(UsageError, match=r"there is no GPU|twice"):
            select(gpus, wanted)
    assert select(gpus, "auto") == tuple(gpus)
