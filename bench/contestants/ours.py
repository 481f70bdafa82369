"""``embedfleet gateway``, complete and with parts switched off."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.contestants.base import Contestant, Site
from bench.fake_tei.processes import ANY_BATCH, ANY_BYTES
from embedfleet.config.settings import EngineOptions

FLEET_BATCH = EngineOptions().max_client_batch_size  # As a fleet starts its replicas: the gateway splits batches.


def _contestant(name: str, *flags: str, client_batch: int = FLEET_BATCH) -> Contestant:
    def command(site: Site) -> Sequence[str]:
        replicas = [part for port in site.replicas for part in ("--replica", f"r{port}=http://127.0.0.1:{port}")]
        at = ["--host", "127.0.0.1", "--port", str(site.port), "--admin", str(site.admin)]
        limits = ["--max-request-bytes", str(ANY_BYTES), "--max-request-texts", "100000", "--log-level", "warning"]
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


def of_source(source: Path, name: str) -> Contestant:
    """Our gateway from another checkout.

    Args:
        source: Source folder of that checkout.
        name: Name of the contestant.
    """
    ours = OURS[0]
    return replace(ours, name=name, command=lambda site: ["env", f"PYTHONPATH={source}", *ours.command(site)])


OURS = (
    _contestant("ours"),
    _contestant("ours-nosplit", "--split", "false", client_batch=ANY_BATCH),
    _contestant("ours-noclass", "--prefer-online", "false"),
    _contestant("ours-noreserve", "--reserve", "false"),
    _contestant("ours-nohedge", "--hedge", "false"),
    _contestant("ours-apart", "--coalesce", "false"),
    _contestant("ours-bounded", "--bulk-queue-s", "2", "--online-queue-s", "1"),
)
