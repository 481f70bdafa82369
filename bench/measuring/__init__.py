"""Code that the measurements share: processes on cores, comparison of versions, load by wrk, memory, texts, reports."""
