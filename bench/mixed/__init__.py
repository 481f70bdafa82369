"""``python -m bench.mixed``: front doors under mixed traffic, in front of fake replicas.

Four fake replicas (`bench.fake_tei`) with TEI's queue, permits and errors, each with 75,000 tokens per second and 6 ms
per batch, stand behind one contestant (`bench.contestants`) after the other. The front door has core 0; replicas and
load generator share core 1. Requests are drawn from a seed before the run and leave at their times, however slowly
earlier ones are answered; latency counts from those times, and every vector and rank is checked. Each run starts
everything anew: replicas, front door, connections. Contestants are interleaved, seed after seed; ratios are of medians
over seeds.

TEI's 512 permits bound the work that waits at a replica to about 3 s of such documents. Behind a front door that only
forwards, online requests are as fast as they are because bulk requests are refused (429). ``--permits 100000`` shows
such a front door without that bound.

A run in which the generator or the replicas were more than 2 ms late at p99 measured them instead of the front door.
Such a run is marked as void, and left out of the medians unless all runs are void. ``void`` counts these runs.

``--faults --before CHECKOUT`` measures our gateway and that of another checkout under faults in turns, with the same
schedules.

The last line of stdout is one JSON object:

- ``ratios`` with the mix at 85 % load, null if not run: ``online_p99_nginx_over_ours`` (the best nginx),
  ``online_p99_haproxy_over_ours`` (the best HAProxy), ``online_p99_cutting_clients_over_ours`` (the best with clients
  that split their batches), ``bulk_p99_ours_over_least_conn`` (``nginx-lc``); and with the mix at 120 % load:
  ``computed_at_120_ours_over_best`` (tokens computed behind ours and behind the best rival);
- ``counts`` over all runs of ours without faults: requests ``sent``, ``failed`` (no 200), ``wrong`` (a 200 with other
  vectors than expected), ``out_of_order``;
- ``agreement``: figures that the simulator gives for the same requests, over the measured ones;
- ``gains``, for requests of one kind alone (``--alone``): p50 and p99 of ours over those of nginx with least_conn, the
  same ratio of a simulated balancer with exact knowledge, and our share of its gain (null if it gains nothing);
- ``cells``: median figures by workload, load and contestant; ``faults``: one row per fault.
"""
