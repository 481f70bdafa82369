"""The processor's features decide whether int8 is accepted."""

import pytest

from embedfleet.engine.onnx.cpu_features import has_int8, require_int8
from embedfleet.errors import ModelError


@pytest.mark.parametrize(
    "flags",
    [
        "flags : fpu sse4_2 avx2 avx512f avx512_vnni",
        "flags\t\t: avx2 avx_vnni",
        "flags : avx512f amx_int8",
        "Features : fp asimd asimddp",
        "Features : asimd i8mm",
    ],
)
def test_a_processor_with_instructions_for_int8_is_accepted(flags):
    assert has_int8(flags)
    require_int8(flags)


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("flags : fpu sse4_2 avx avx2 fma", "avx2"),
        ("Features : fp asimd", "asimd"),
        ("", "none"),
        ("flags : not_avx_vnni", ""),
    ],
)
def test_a_refused_processor_is_described_by_the_instructions_that_it_has(flags, has):
    assert not has_int8(flags)
    with pytest.raises(ModelError, match=f"avx512_vnni.*this one has {has}") as caught:
        require_int8(flags)
    assert "float32" in caught.value.hint
