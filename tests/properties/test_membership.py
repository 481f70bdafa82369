"""A gateway's list of replicas is read as it was written, or refused as a whole."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from embedfleet.gateway.membership import Membership
from embedfleet.types import Endpoint, url_fault

names = st.text(min_size=1, max_size=20).filter(str.isprintable)
urls = st.builds(
    "http://{}:{}".format, st.from_regex(r"[a-z]{1,10}(\.[a-z]{1,5})?", fullmatch=True), st.integers(1, 65_535)
)
endpoints = st.lists(st.builds(Endpoint, names, urls), max_size=6, unique_by=lambda endpoint: endpoint.id)
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "url", "drained", "x"]), inner),
    max_leaves=12,
)


@given(endpoints, st.data())
def test_a_written_list_is_read_back(written, data):
    drained = {one.id: data.draw(st.booleans()) for one in written if data.draw(st.booleans())}
    rows = [one.to_json() | ({"drained": drained[one.id]} if one.id in drained else {}) for one in written]
    assert Membership.of(orjson.dumps(rows)) == Membership(tuple(written), drained)


def _without_id(row: dict[str, Any]) -> None:
    del row["id"]


def _unprintable_id(row: dict[str, Any]) -> None:
    row["id"] += "\n"


def _no_url(row: dict[str, Any]) -> None:
    row["url"] = 8080


def _other_scheme(row: dict[str, Any]) -> None:
    row["url"] = row["url"].replace("http:", "https:")


def _drained_number(row: dict[str, Any]) -> None:
    row["drained"] = 1


@pytest.mark.parametrize("spoil", [_without_id, _unprintable_id, _no_url, _other_scheme, _drained_number])
@given(written=endpoints.filter(bool), data=st.data())
def test_one_wrong_row_is_named_and_refuses_the_list(spoil: Callable[[dict[str, Any]], None], written, data):
    rows = [one.to_json() for one in written]
    place = data.draw(st.integers(0, len(rows) - 1))
    spoil(rows[place])
    with pytest.raises(ValueError, match=f"^row {place}: "):
        Membership.of(orjson.dumps(rows))


@given(endpoints.filter(bool), st.data())
def test_two_replicas_of_one_name_are_refused(written, data):
    rows = [one.to_json() for one in written]
    rows.append(data.draw(st.sampled_from(rows)) | {"url": data.draw(urls)})
    with pytest.raises(ValueError, match=f"^row {len(rows) - 1}: id .* occurs twice"):
        Membership.of(orjson.dumps(rows))


@given(json)
def test_any_other_json_is_refused_or_names_replicas_that_can_be_asked(value):
    try:
        found = Membership.of(orjson.dumps(value))
    except ValueError as error:
        told = str(error)
    else:
        told = ""
    assert "\n" not in told
    assert len(told) < 400
    if told:
        return
    assert all(one.id and not url_fault(one.url) for one in found.endpoints)
    assert len({one.id for one in found.endpoints}) == len(found.endpoints) == len(value)
    assert found.drained.keys() <= {one.id for one in found.endpoints}


@given(st.binary(max_size=40))
def test_bytes_that_are_not_json_are_refused(body):
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        with pytest.raises(ValueError, match=r"."):
            Membership.of(body)
    else:
        assume(False)
