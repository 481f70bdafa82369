"""An open-loop load generator: requests leave at their planned times, however slowly earlier ones are answered.

`workload` draws what clients ask and when; `plan` writes those requests as bytes, with the answers they must get;
`generator` sends them on the connections of `connections` and measures latency from the planned times; `verdict`
compares each answer with the expected one; `tally` sums up the run.
"""
