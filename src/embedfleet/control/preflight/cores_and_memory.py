"""Whether the machine, or the container or unit that this is in, has the cores and the memory for a fleet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedfleet.config.model_name import AUTO, BUILTIN, model_folder
from embedfleet.config.settings import Service, Settings
from embedfleet.control.host.gpu import Gpu
from embedfleet.control.models.folder import read_model_folder
from embedfleet.control.plan.placement import replica_count
from embedfleet.control.plan.plan import runs_as, shares_weights
from embedfleet.control.preflight.check_result import CheckResult
from embedfleet.control.tei.weights import weights_bytes
from embedfleet.system.cgroup import Memory, Quota, memories

_BUILTIN_BYTES = 90_900_000  # of all-MiniLM-L6-v2
_PROCESS_BYTES = 50_000_000  # of a replica, besides its weights: a low guess
_SMALLEST = 4  # weights take at least their size over this, in the smallest precision
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Need:
    """What the replicas of a service take, about.

    Attributes:
        weights_bytes: of one copy of the model; 0 if it is not known yet.
        copies: of the weights.
        replicas: processes of this machine.
    """

    service: str
    weights_bytes: int
    copies: int
    replicas: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes * self.copies + self.replicas * _PROCESS_BYTES


def check_cores(machine: int, allowed: int, quota: Quota | None) -> CheckResult:
    """How many cores are shared out, and which limit says so.

    Args:
        machine: cores that there are.
        allowed: those that this process may run on.
        quota: of processor time, if there is any.
    """
    if quota is not None and math.ceil(quota.cores) < allowed:
        count, reason = max(1, math.ceil(quota.cores)), f": {quota.source} allows {quota.cores:g}"
    else:
        count, reason = allowed, ": this process may run on no others (taskset, cpuset)" if allowed < machine else ""
    return CheckResult("cores", "ok", f"{count} of {machine} cores{reason}")


def needs_of(settings: Settings, gpus: Sequence[Gpu]) -> list[Need]:
    """What the services need whose replicas are processes; containers have limits of their own."""
    services = [service for service in settings.services if runs_as(service, gpus) == "process"]
    return [_need(service, settings.root) for service in services if not service.engine.device.startswith("cuda")]


def check_memory(needs: Sequence[Need], there: Sequence[Memory]) -> CheckResult:
    """Whether the memory that is left will do.

    Args:
        needs: of the services.
        there: every memory that holds all of them, such as the machine's and a container's.
    """
    needed = sum(need.total_bytes for need in needs)
    detail = ", ".join(f"{need.service} {_gb(need.total_bytes)}" for need in needs)
    hint = "give it more (docker run --memory, MemoryMax=, limits.memory), or take fewer replicas or a smaller model"
    tightest = min(there, key=lambda memory: memory.left_bytes, default=None)
    if tightest is None or not needs:
        return CheckResult("memory", "ok", "no replica is a process here" if not needs else "no limit is known")
    least = max(need.weights_bytes // _SMALLEST for need in needs)
    if small := [memory for memory in there if memory.limit_bytes < least]:
        large = max(needs, key=lambda need: need.weights_bytes)
        message = f"the weights of {large.service} are {_gb(large.weights_bytes)}, and there are"
        return CheckResult(
            "memory", "blocked", f"{message} {_gb(small[0].limit_bytes)} in all: {small[0].source}", hint
        )
    left = f"{_gb(tightest.left_bytes)} of {_gb(tightest.limit_bytes)} are left: {tightest.source}"
    if needed > tightest.left_bytes:
        message = f"the replicas need about {_gb(needed)} ({detail}), {left}"
        return CheckResult("memory", "warn", message, f"{hint}; what does not fit is killed by the kernel")
    return CheckResult("memory", "ok", f"about {_gb(needed)} needed ({detail}), {left}")


def see_memories() -> list[Memory]:
    """The machine's memory, and that of every control group over this process."""
    rows = (line.split() for line in _MEMINFO.read_text().splitlines())
    kilobytes = {row[0].rstrip(":"): int(row[1]) for row in rows}
    machine = Memory(kilobytes["MemTotal"] * 1024, kilobytes["MemAvailable"] * 1024, str(_MEMINFO))
    return [*memories(), machine]


def _need(service: Service, root: Path) -> Need:
    folder = model_folder(service.engine.model, root)
    if folder is not None and folder.is_dir():
        weights = weights_bytes(read_model_folder(folder))
    else:
        weights = _BUILTIN_BYTES if service.engine.model in {AUTO, BUILTIN} else 0  # a hub id says nothing
    assert not isinstance(service.options.replicas, tuple), "servers elsewhere are no processes"
    count = replica_count(service.options.replicas)
    return Need(service.name, weights, 1 if shares_weights(service, count) else count, count)


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
