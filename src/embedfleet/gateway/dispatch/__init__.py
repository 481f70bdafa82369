"""The gateway's decisions, without I/O: which replica gets which chunk, and what happens when a replica fails.

`dispatcher` is the state machine. `pool` holds the replicas; `open_requests` holds the requests and tracks where their
chunks are; `admission` limits the queues. `replica_choice`, `online_sender` and `bulk_sender` decide where a chunk is
sent, by the prediction of `batch_cycle`; `retries`, `hedges` and `quarantine` decide when it is sent again. All of
TEI's calls are idempotent, so each may be repeated, within a budget.

=============================  =======================================================================================
what the replica did           what follows
=============================  =======================================================================================
answered 2xx, 3xx, 4xx         the chunk is done; a 4xx ends its whole request
429                            not a failure: the chunk waits again, and the replica's window shrinks; the replica gets
                               nothing new until it gives any answer or a moment passes; relayed once every active
                               replica answered 429 while it had nothing else, because the chunk alone is too much
424                            the chunk is sent to another replica; if there is none or it answers 424 too, the chunk
                               is halved, until the text at fault is alone and its 424 is relayed
500, 502, 503, 504             the chunk is sent to another replica; relayed if there is no other or the sends are
                               used up
424, 5xx, three in a row       the replica must pass a probe before it gets anything new; it is ejected if another
                               replica answers one of the chunks that it failed
other 4xx, sixteen in a row    the replica must pass a probe, and serves meanwhile
refused                        the replica is ejected; the chunk is sent elsewhere, and this does not count as a send
malformed, broken              the replica must pass a probe before it gets anything new; the chunk is sent elsewhere;
                               if another replica answers it, the first is ejected; 502 when the sends are used up,
                               and for a while afterwards equal requests get that 502 at once
timed out                      the replica is ejected; the chunk is sent elsewhere; 502 when the sends are used up
reset: all connections ended   the replica is ejected; the chunk may have killed it, and is tried again alone
                               (`quarantine`)
starved: not sent, because     the replica keeps its state; the chunk waits until the replica gives any answer or a
the gateway lacks files,       moment passes, and this does not count as a send; 503 when it has waited too long
memory or ports
silent                         the replica is suspect and gets nothing new; its chunks are also sent to another
                               replica; the first answer counts, and the other connection is closed; a chunk over
                               which two replicas are silent is tried alone
=============================  =======================================================================================
"""
