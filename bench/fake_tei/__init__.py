"""A fake replica: TEI 1.9's HTTP interface, queue and errors over a device that waits instead of computing.

``python -m bench.fake_tei --replicas 4`` runs four replicas in one process, each on its own port, and one more port
for faults and for the log (`bench.fake_tei.admin`). It prints its ports as one JSON line.

As in TEI:

- routes, bodies, reply headers and errors (``dialects`` define the shapes), ``/vertex``, HEAD, OPTIONS, CORS fields;
- 512 permits, one per text; a request gets all of its permits or is refused (429);
- ``max_client_batch_size`` (422) and the payload limit (413), both in ``/info``; an API key (401 without it);
- one FIFO queue of texts; a batch takes texts from its front until ``max_batch_tokens``; one batch is formed ahead
  while another runs; texts whose client has left are dropped when a batch is formed;
- ``/health`` waits for the running batch;
- a sequence without tokens (ids that decode to nothing, blanks for a tokenizer without special tokens) ends the
  process when its batch is computed, with all work in progress.

With ``--folder`` a model computes the answers (`bench.fake_tei.served`): then values, tokens, prompts and lengths are
TEI's too, and only the calls of the model's kind are answered. `tests/e2e/conformance` compares these answers with
recordings of a real TEI.

Differences from TEI without ``--folder``: a text's tokens are the number that it begins with. Tokenizing takes no time,
so all texts of a request reach the queue together. Every call is answered, whatever the kind of model. ``/embed_all``
gives at most four tokens' vectors. ``/tokenize`` splits texts into characters (`bench.fake_tei.model`). Answers follow
from the texts and the options alone (`bench.fake_tei.oracle`), so a client can check every vector and every rank.

Differences in any case: TEI's ``/rerank`` takes its permits pair by pair; here it takes them like the other calls. A
batch takes ``a + b * tokens`` seconds (`embedfleet.simulation.batch_cost.BatchCost`).
"""
