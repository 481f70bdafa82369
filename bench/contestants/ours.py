"""``embedfleet gateway``, whole and with parts switched off."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.contestants.base import Contestant, Site
from bench.fakes import ANY_BATCH, ANY_BYTES


def _contestant(name: str, *flags: str, client_batch: int = ANY_BATCH) -> Contestant:
    def command(site: Site) -> Sequence[str]:
        replicas = [part for port in site.replicas for part in ("--replica", f"r{port}=http://127.0.0.1:{port}")]
        at = ["--host", "127.0.0.1", "--port", str(site.port), "--admin", str(site.admin)]
        limits = ["--payload-limit-bytes", str(ANY_BYTES), "--log-level", "warning"]
        return [sys.executable, "-m", "embedfleet", "gateway", *replicas, *at, *limits, *flags]

    return Contestant(
        name=name,
        program=Path(sys.executable).name,
        package="pip install -e .",
        config=lambda _: "",
        command=command,
        check=lambda _: (),
        client_batch=client_batch,
    )


OURS = (
    # Once the gateway cuts batches its replicas need no help: client_batch=32, TEI's own limit, is then the fair one.
    _contestant("ours"),
)
