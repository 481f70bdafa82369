"""``python -m bench.conformance URL [URL …]``: whether a server answers as Text Embeddings Inference 1.9.3 did.

The cases are the recordings of a real one (``recordings/README.md``). What kind of model a server has is asked of its
``/info``. With one of the recorded models (``python -m bench.conformance.models OUT`` writes them) every answer has to
be the recorded one, numbers within 0.002. With any other model the requests go up to that server's own limits, and
what is compared of a success is its form.

For each case that differs it is said what was sent, what a real TEI answered and what this server did; the last line
is one JSON object. The exit code is 0 only if nothing differs but what is kept on purpose (``kept.py``).
"""
