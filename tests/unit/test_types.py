"""Records that planes share come back from JSON as they were."""

import json

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.types import Endpoint, ReplicaLoad, ReplicaReport, ReplicaState

RECORDED = (
    '{"id": "s-0", "url": "http://127.0.0.1:18080", "state": "suspect", "requests": 1, "tokens": 20, "sent": 7,'
    ' "slowness": 1.5, "reason": "late"}'
)
numbers = st.integers(0, 2**40)
loads = st.builds(ReplicaLoad, numbers, numbers, numbers, st.floats(0, 100))
reports = st.builds(
    ReplicaReport,
    st.builds(Endpoint, st.text(), st.text()),
    st.sampled_from(ReplicaState),
    st.text(),
    st.none() | loads,
)


def test_a_recorded_row_of_a_gateway_is_read_and_written_as_it_was():
    row = json.loads(RECORDED)
    assert json.dumps(ReplicaReport.from_json(row).to_json()) == RECORDED


@given(reports)
def test_a_report_comes_back_from_its_json(report):
    assert ReplicaReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_answers_are_what_was_sent_and_is_not_under_way():
    assert ReplicaLoad(requests=2, sent=9).answered == 7
