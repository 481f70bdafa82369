"""``python -m bench.fuzz URL|folder``: odd requests to a server that speaks TEI's API, or odd model folders.

``URL``: each case is a request of the conformance suite with something changed: a value of another type, size or depth,
a key twice, bytes cut, doubled or flipped, another method, path or content type. Whatever it is, the answer has to be
well formed and no failure of the server's own (a status of 500 or above), and the next good request has to be answered.

``folder``: each case is a small sound model folder, of any family and with weights of any format, with something
changed in its files: values and keys of JSON, headers and bytes of weights, the program of a pickle, the tokenizer,
whole files exchanged, cut or gone. A process of its own loads it. It has to be refused with a message that names it, or
be served, and then answer requests of every kind; never end the process, nor take more than 20 s or 1 GB.

``--cases N`` and ``--seconds S`` bound a run, ``--seed S`` makes another one. What was found is told with the number of
its case, which ``--first NUMBER --cases 1`` and the seed make again. The last line of stdout is one JSON object.
"""
