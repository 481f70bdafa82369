"""JSON values are printed as Rust's libraries print them."""

import pytest

from embedfleet.dialects.serde.rust_values import describe, format_float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e20, "1e20"), (1.5, "1.5"), (1.0, "1.0"), (-2.0, "-2.0"), (0.0, "0.0"), (-0.0, "-0.0"), (100.25, "100.25"),
        (1e15, "1000000000000000.0"), (1e16, "1e16"), (1.25e16, "1.25e16"), (123456789012345.6, "123456789012345.6"),
        (0.001234, "0.001234"), (0.00001, "0.00001"), (0.000001, "1e-6"), (1.5e-7, "1.5e-7"), (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_rust_writes_them(value, text):
    assert format_float(value) == text


def test_values_are_named_as_the_library_names_them():
    assert describe('a"\\\n\t\0\x7f') == 'string "a\\"\\\\\\n\\t\\0\\u{7f}"'
    assert describe("grün 🙂") == 'string "grün 🙂"'
    assert [describe(value) for value in (None, True, 7, [], {})] == [
        "null", "boolean `true`", "integer `7`", "sequence", "map",
    ]  # fmt: skip
