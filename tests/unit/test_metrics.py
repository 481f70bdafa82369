"""The exposition is Prometheus text, and no metric exists outside the tables."""

from pathlib import Path

import pytest

import embedfleet
from embedfleet.metrics import GATEWAY, TEI, Definition, Registry


def test_histogram_buckets_are_cumulative_and_inclusive():
    registry = Registry((Definition("h", "histogram", "help", (), (1.0, 2.5)),))
    for value in (0.5, 1.0, 2.0, 9.0):
        registry["h"].histogram().observe(value)
    assert registry.expose().decode().splitlines() == [
        "# HELP h help",
        "# TYPE h histogram",
        'h_bucket{le="1"} 2',
        'h_bucket{le="2.5"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 12.5",
        "h_count 4",
    ]


def test_label_values_are_escaped():
    registry = Registry((Definition("c", "counter", "help", ("path",)),))
    registry["c"].value('a"b\\c\n').inc(2)
    assert registry.expose().decode().splitlines()[-1] == 'c{path="a\\"b\\\\c\\n"} 2'


def test_a_forgotten_child_is_no_longer_exposed():
    registry = Registry((Definition("g", "gauge", "help", ("replica", "state")),))
    registry["g"].value("a", "active").set(1)
    registry["g"].value("b", "active").set(1)
    registry["g"].forget("a")
    assert b'replica="a"' not in registry.expose()
    assert b'replica="b"' in registry.expose()


def test_what_is_not_in_the_table_is_an_error():
    registry = Registry(TEI)
    with pytest.raises(KeyError):
        registry["te_other"]
    with pytest.raises(ValueError, match="te_request_count takes labels"):
        registry["te_request_count"].value("a", "b")


def test_names_are_unique_and_teis_counters_have_no_total():
    names = [definition.name for definition in TEI + GATEWAY]
    assert len(names) == len(set(names))
    assert not any(definition.name.endswith("_total") for definition in TEI)


def test_every_metric_of_the_gateway_is_counted_somewhere():
    source = "".join(path.read_text() for path in (Path(embedfleet.__file__).parent / "gateway").rglob("*.py"))
    assert [definition.name for definition in GATEWAY if f'"{definition.name}"' not in source] == []
