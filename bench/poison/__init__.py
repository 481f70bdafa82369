"""``python -m bench.poison [--quick] [--before CHECKOUT]``: requests that kill the replica which computes them.

Four fake replicas (`bench.fake_tei.mortal`), each in its own process, stand behind one front door. A text with a marker
kills the replica that computes it, with all its work; five seconds later its process is restarted. Nothing
distinguishes such a text beforehand. Ten clients start ten seconds apart; each sends one such body a hundred times, one
request after the other. Meanwhile an open-loop generator sends fifty requests per second and checks their vectors.

The report has for each second: deaths so far; the fewest replicas that ran at any moment; checked requests with right
and with wrong or no answers, and their latency; the front door's memory (PSS); and, of our gateway, the longest answer
time of ``/livez``, asked every 0.1 s, which shows how long its event loop was busy. Replicas and clients share a core
on which processes restart; that is part of the latencies.

The run passes if each body killed at most two replicas, no checked request failed, and at least one replica ran at any
moment. The last line of stdout is one JSON object, with the series of each front door in ``runs``.
"""
