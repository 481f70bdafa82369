"""``python -m bench.mixed``: front doors under mixed traffic, over replicas that wait instead of computing.

Four fake replicas (`bench.fake_tei`) with TEI's queue, permits and errors, of 75,000 tokens per second and 6 ms per
batch each, stand behind one contestant (`bench.contestants`) after the other. The front door has core 0; replicas and
generator share core 1. Requests are drawn from a seed before the run and leave at their times, whatever became of those
before; latency counts from those times, and every vector and rank is checked. Every run starts anew: replicas,
front door, connections. Contestants are interleaved, seed after seed; a ratio is that of the medians over seeds.

TEI's 512 permits bound what waits at a replica to about 3 s of such documents: a front door that only forwards owes
its online p99 to the bulk requests that are refused (429) then. ``--permits 100000`` shows it without.

A run in which the generator or the replicas were more than 2 ms late at p99 measured them: it is void, said to be, and
taken out of the medians, but where there is no other: ``void`` counts them.

``--faults --before CHECKOUT`` measures ours and another checkout's under faults in turns, each with the same schedules.

The last line of stdout is one JSON object:

- ``ratios``, at the mix and 85 % load, null where not run: ``online_p99_nginx_over_ours``, of the best nginx;
  ``online_p99_haproxy_over_ours``, of the best HAProxy; ``bulk_p99_ours_over_least_conn``, of ``nginx-lc``;
- ``counts``, of all of our runs without faults: requests ``sent``, ``failed`` (no 200), ``wrong`` (a 200 with other
  vectors than asked for), ``out_of_order``;
- ``agreement``: what `bench.simulation` says of the same requests, over what was measured;
- ``cells``: workload, load and contestant with the medians of its figures; ``faults``: one row for each fault.
"""
