"""``python -m bench.fuzz URL [--cases N] [--seed S]``: odd requests by the thousand, to a server that speaks TEI's API.

Each is a request of the conformance suite with something changed: a value of another type, size or depth, a key twice,
bytes cut, doubled or flipped, another method, path or content type. Whatever it is, the answer has to be well formed
and no failure of the server's own (a status of 500 or above), and the next good request has to be answered. The last
line of stdout is one JSON object; what was found is told before it, with the seed that finds it again.
"""
