"""What `embedfleet status` shows to people."""

import io

from rich.console import Console

from embedfleet.cli.verbs.status import show

WHY = "another model: pooling is 'mean', the pool's is 'cls' (start it with the pool's; or, if the whole pool is …)"


def row(name: str, state: str, reason: str = "") -> dict[str, object]:
    return {
        "id": name,
        "state": state,
        "url": "http://127.0.0.1:18081",
        "pid": 4711,
        "restarts": 0,
        "requests": 3,
        "sent": 1234,
        "pss_bytes": 110_000_000,
        "reason": reason,
    }


def test_a_long_reason_leaves_the_table_whole_on_a_narrow_terminal():
    gateway = {"id": "search-gateway", "phase": "running", "pid": 4710, "restarts": 0, "pss_bytes": 31_000_000}
    service = {"name": "search", "port": 8001, "gateway": gateway}
    service["replicas"] = [row("search-tei-0", "active"), row("search-tei-1", "joining", WHY)]
    console = Console(width=110, file=io.StringIO())
    show({"services": [service]}, console)
    lines = console.file.getvalue().splitlines()
    assert lines[3].split() == ["search-tei-1", "joining", "127.0.0.1:18081", "4711", "0", "3", "1234", "110", "MB"]
    assert lines[-1] == f"search-tei-1: {WHY}"
