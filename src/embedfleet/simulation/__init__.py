"""Simulation of a fleet in virtual time: the gateway's own dispatcher in front of modelled replicas.

`simulated_run.Cell` describes one run, and `simulated_run.simulate` computes its figures. `policy` has the load
balancers in front of the replicas; `gateway` is the one with our dispatcher. `replica` models a TEI server, `faults`
its faults. `capacity` computes the unit of load, and `objective` the largest load that meets a latency objective.
"""
