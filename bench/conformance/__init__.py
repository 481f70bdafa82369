"""``python -m bench.conformance URL [URL …]``: whether a server behaves as Text Embeddings Inference 1.9 does.

What kind of model it serves is asked of its ``/info``; the cases are those for that kind. Each is a request and what
TEI 1.9 answers to it: status, content type, body, error text, headers. One line is printed for each case that fails,
with what was sent, expected and seen; the last line is one JSON object. The exit code is 0 only if all cases pass.

Source of the expectations: TEI 1.9.3 (router/src/http/server.rs, router/src/http/types.rs, core/src/tokenization.rs);
of what its framework refuses by itself, axum 0.7's extractors. Cases that rest on the latter say ``loose``: texts are
compared up to where axum's own wording begins.
"""
