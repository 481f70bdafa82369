"""Decisions of the gateway, without I/O: which replica gets which chunk, and what follows from what replicas do.

`dispatcher` is the state machine. `pool` knows the replicas, `open_requests` knows the requests and where their chunks
are, `admission` bounds what waits; `placement`, `online` and `bulk` send, `retries`, `hedges` and `quarantine` send
again. All of TEI's calls are idempotent, so each may be sent again, within a budget.

===============================  =====================================================================
what a replica did               what follows
===============================  =====================================================================
answered 2xx, 3xx, 4xx           the chunk is done; a 4xx ends its whole request
429                              no failure: the chunk waits again, the replica's window shrinks and it gets nothing
                                 new until it answers anything or a moment passes; relayed once every replica said so
                                 with nothing else to do, because then the chunk alone is too much for them
424                              sent to another replica; if that says it too, the input is to blame: the chunk is
                                 halved until one text is left, whose 424 is the request's
500, 502, 503, 504               sent to another replica; relayed if there is no other or the sends are used up
424, 5xx, three in a row         it has to infer before it gets anything new; ejected if another answers what it did not
other 4xx, sixteen in a row      it has to infer, and serves meanwhile
refused                          ejected; sent elsewhere, and it does not count as a send
malformed, broken                it has to infer before it gets anything new; sent elsewhere; if another answers that,
                                 it is ejected; 502 when the sends are used up, and for a while afterwards at once
timed out                        ejected; sent elsewhere; 502 when the sends are used up
reset: all connections ended     ejected; the chunk may have killed it, and is tried again alone (`quarantine`)
starved: not asked for want of   its state stays; the chunk waits until the replica answers anything or a moment
files or ports of the gateway    passes, and that does not count as a send; 503 when it has waited too long
silent                           suspect: it gets nothing new, and what it has is sent to another as well; the first
                                 answer counts, the other connection is closed; what two are silent over is tried alone
===============================  =====================================================================
"""
