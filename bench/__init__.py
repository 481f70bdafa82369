"""Checks, models and measurements around the package. Most names below are commands, ``python -m bench.NAME``.

Checks that run against any server: `conformance` (compares it with a recorded TEI) and `fuzz` (odd requests, damaged
model folders, hostile clients).

Models of our surroundings: `fake_tei` (replicas with TEI's interface that wait instead of computing) and `simulation`
(experiments in virtual time that compare our dispatcher with models of nginx and HAProxy; the simulator itself is
`embedfleet.simulation`, the load generator `embedfleet.load`).

Measurements: `gateway` (CPU time per request), `bodies` (the delay by one client's body), `engine` (speed and memory),
`mixed` (latencies under mixed traffic and faults), `poison` (requests that kill replicas), `port` (a service's port
while its gateway is killed and reloaded), `relay` (a proxy that only forwards bytes, the lower bound of a gateway's
cost).

No commands: `contestants` (the front doors to compare) and `measuring` (code that the measurements share).
"""
