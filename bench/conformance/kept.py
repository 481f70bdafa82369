"""Differences from a real TEI that are kept on purpose, with reasons; docs/conformance.md lists them too."""

import re

from bench.conformance.comparison import Difference
from bench.conformance.recording import Case

_OWN_PAGE = {
    "/docs/": "a page of our own, which loads no scripts",
    "/api-doc/openapi.json": "a description of our own",
    "/info": "it has our model, limits and versions",
}
_GATEWAYS_METRICS = "the gateway has metrics of its own"
_ASKED_BEFORE = "the recorded TEI had answered nothing before; a series exists once it has counted something"
_CUT = "the gateway splits batches into calls that its replicas accept"
_ONLY_CHUNKS = re.compile(r"only TEI \[\], only this server \[\('x-chunks', '\d+'\)\]")
_PADDED = "TEI's CPU backend lets padding take part in SPLADE's maximum; ours are the model's for each text alone"


def reason(recording: str, case: Case, found: Difference, *, is_gateway: bool = False) -> str:
    """The reason why a difference is kept; empty if it is not.

    Args:
        recording: Name of the case's recording.
        case: Case that was asked.
        found: Difference of the answer.
        is_gateway: Whether our gateway answered.
    """
    path = case.request.path
    if path == "/metrics" and found.part in ({"body", "headers"} if is_gateway else {"body"}):
        return _GATEWAYS_METRICS if is_gateway else _ASKED_BEFORE
    if found.part == "body" and path in _OWN_PAGE:
        return _OWN_PAGE[path]
    if recording == "splade" and case.name in {"/embed_sparse two", "/ two"} and found.part == "body":
        return _PADDED
    if is_gateway and found.part == "headers" and _ONLY_CHUNKS.fullmatch(found.told):
        return "the gateway states the number of parts of a request"
    if is_gateway and found.part == "status" and case.answer.status in {400, 422} and b"null" in case.request.body:
        return "the gateway replaces a null, which some clients send, by the field's default"
    if is_gateway and found.part == "status" and "maximum allowed batch size" in str(case.answer.body):
        return _CUT
    return ""
