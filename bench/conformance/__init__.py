"""``python -m bench.conformance URL [URL …]``: compare a server with Text Embeddings Inference 1.9.3.

The cases are recordings of a real TEI (``recordings/README.md``). The server's ``/info`` tells its kind of model. With
one of the recorded models (``python -m bench.conformance.models OUT`` writes them) every answer must be the recorded
one, numbers within 0.002. With any other model the requests are adapted to that server's limits, and only the form of
successful answers is compared.

For each case that differs the command prints the request, the answer of the real TEI and that of the server; the last
line is one JSON object. The exit code is 0 if nothing differs except what is kept on purpose (``kept.py``).
"""
