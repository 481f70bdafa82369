"""An open-loop client: requests leave when their time has come, whatever became of those before.

`plan` makes a schedule's requests as bytes with what they must be answered; `generator` sends them at their times and
counts latency from those; `verdict` holds each answer against what it must be; `tally` is what is told in the end.
"""
