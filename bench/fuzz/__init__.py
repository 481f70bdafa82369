"""``python -m bench.fuzz URL|folder|connections``: odd requests to a server, odd model folders, hostile clients.

``URL`` of a server that speaks TEI's API: each case is a request of the conformance suite with something changed: a
value of another type, size or depth, a key twice, bytes cut, doubled or flipped, another method, path or content type.
Whatever it is, the answer has to be well formed and no failure of the server's own (a status of 500 or above), and the
next good request has to be answered.

``folder``: each case is a small sound model folder, of any family and with weights of any format, with something
changed in its files: values and keys of JSON, headers and bytes of weights, the program of a pickle, the tokenizer,
whole files exchanged, cut or gone. A process of its own loads it. It has to be refused with a message that names it, or
be served, and then answer requests of every kind; never end the process, nor take more than 20 s or 1 GB.

``connections``: a gateway before stand-in replicas, or an engine (``--engine``), meets clients that break off uploads,
do not read, never end a trailer, send two bytes at a time or half a request, while 50 verified requests a second go on.
Its memory has to come back to within 5 MB of the start, and no verified request may fail; a series tells memory (PSS),
the longest wait for the event loop and the latency of the verified requests.

``--cases N`` and ``--seconds S`` bound a run, ``--seed S`` makes another one. What was found is told with the number of
its case, which ``--first NUMBER --cases 1`` and the seed make again. The last line of stdout is one JSON object.
"""
