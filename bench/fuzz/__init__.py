"""``python -m bench.fuzz URL|folder|connections``: odd requests to a server, damaged model folders, hostile clients.

``URL`` of a server with TEI's API: each case is a request of the conformance suite with a change: a value of another
type, size or depth, a duplicate key, bytes removed, doubled or flipped, another method, path or content type. The
answer must be well formed and not a server error (a status of 500 or above), and the next good request must be
answered.

``folder``: each case is a small sound model folder, of any family and with weights of any format, with a change in its
files: values and keys of JSON, headers and bytes of weights, the program of a pickle, the tokenizer, whole files
exchanged, truncated or missing. A separate process loads it. The folder must be refused with a message that names it,
or be served and answer requests of every kind. It must never end the process or take more than 20 s or 1 GB.

``connections``: a gateway with fake replicas, or an engine (``--engine``), meets clients that break off uploads, do not
read, never end a trailer, send two bytes at a time or half a request, while 50 checked requests per second go on. The
server's memory must return to within 5 MB of the start, and no checked request may fail. The report has a series of
memory (PSS), the longest wait for the event loop and the latency of the checked requests.

``--cases N`` and ``--seconds S`` bound a run; ``--seed S`` makes another run. Findings have the number of their case;
``--first NUMBER --cases 1`` with the same seed repeats it. The last line of stdout is one JSON object.
"""
