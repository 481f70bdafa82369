"""A replica without a model: TEI 1.9's HTTP interface, queue and errors over a device that waits instead of computing.

``python -m bench.fake_tei --replicas 4`` is one process with four replicas, each on a port of its own, and one port
more for faults and for the log (`bench.fake_tei.admin`). It prints its ports as one JSON line.

What is as in TEI: routes, bodies, reply headers, errors (``dialects`` hold the shapes), 512 permits, one per text and
taken all or nothing (429); ``max_client_batch_size`` (422) and the payload limit (413), told by ``/info``; one FIFO
queue of texts; a batch takes texts from its front until ``max_batch_tokens``, and one batch is formed ahead while one
runs; texts of a client that left are dropped when a batch is formed; ``/health`` waits for the batch that runs; a
sequence of no tokens (ids that decode to nothing, blanks for a tokenizer without special tokens) ends the process when
its batch is computed, and all that is under way with it; a key (401 without it); ``/vertex``; HEAD, OPTIONS and
CORS fields.

With ``--folder`` a model computes the answers (`bench.fake_tei.served`): then values, tokens, prompts and lengths are
TEI's too, and a model is asked only for what its kind gives. `tests/e2e/conformance` holds that against the recordings
of a real TEI.

What is not as in TEI without a folder: a text's tokens are the number it begins with, and tokenizing takes no time, so
all texts of a request reach the queue together; every call is answered, whatever the kind of model; ``/embed_all``
gives at most four tokens' vectors; ``/tokenize`` cuts texts into characters (`bench.fake_tei.model`). Answers follow
from the texts and the options alone (`bench.fake_tei.oracle`): a client that knows them can check every vector and
every rank.

What is not in any case: TEI's ``/rerank`` takes its permits pair by pair, here it takes them like the others; a batch
takes ``a + b * tokens`` by the clock (`workload.Cost`).
"""
