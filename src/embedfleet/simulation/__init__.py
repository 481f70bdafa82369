"""A fleet in virtual time: the gateway's own dispatcher in front of modelled replicas, without sockets.

`cell` describes one run and `simulate` there gives its figures; `policy` says what stands in front of the replicas
(`gateway` is the dispatcher that serves), `replica` is the model of a TEI server, `faults` what goes wrong, `capacity`
the measure of load and `objective` the largest load that still meets a latency objective.
"""
