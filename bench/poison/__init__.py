"""``python -m bench.poison [--quick] [--before CHECKOUT]``: requests that end whoever computes them, among others.

Four fake replicas (`bench.fake_tei.mortal`), a process each, stand behind one front door. A text with a certain word
ends the replica that computes it, with all that it has; five seconds later its process is started again. Nothing tells
such a text from others beforehand. Ten clients come, ten seconds apart; each sends one such body a hundred times, one
request after the other. Meanwhile fifty requests a second ask for vectors that are checked, open loop.

Told second by second: deaths so far; the fewest replicas that ran at any moment of it; checked requests that were
answered rightly, and that were not, with their latency; the front door's memory (PSS); and, of ours, the longest that
``/livez`` took, asked every tenth of a second, which is how long its event loop was busy with something else. Replicas
and clients share a core, on which processes start anew: a latency has that in it.

At the end: two deaths of each body at most, no checked request failed, and at no moment was every replica dead. The
last line of stdout is one JSON object, with the series of each front door in ``runs``.
"""
