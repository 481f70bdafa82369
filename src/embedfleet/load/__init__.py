"""An open-loop load generator: requests are sent at their planned times, however slowly earlier ones are answered.

`workload` draws the requests and their times; `plan` writes them as bytes, with the expected answers; `generator` sends
them over `connections`, and measures latency from the planned times; `verdict` compares each answer with the expected
one; `tally` summarises the run.
"""
