"""Checks of the cores and memory that the machine, or a container or systemd unit, grants this process."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from embedfleet.config.model_name import AUTO, BUILTIN
from embedfleet.config.settings import Service, Settings
from embedfleet.control.plan.replica_placement import devices_of, shares_weights, substrate_of
from embedfleet.control.preflight.check_result import CheckResult
from embedfleet.control.preflight.survey import Resources, Survey
from embedfleet.control.tei.weights import weights_bytes
from embedfleet.system.cgroup import Memory

_BUILTIN_BYTES = 90_900_000  # weights of all-MiniLM-L6-v2
_PROCESS_BYTES = 50_000_000  # memory of a replica besides its weights: a low estimate
_SMALLEST = 4  # weights in the smallest precision take their size divided by this


@dataclass(frozen=True, slots=True)
class Need:
    """The memory that the replicas of a service need, approximately.

    Attributes:
        service: Name of the service.
        weights_bytes: Size of one copy of the weights; 0 if unknown.
        copies: Number of copies of the weights.
        replicas: Number of replicas that are processes on this machine.
    """

    service: str
    weights_bytes: int
    copies: int
    replicas: int

    @property
    def total_bytes(self) -> int:
        """Memory of all replicas together, in bytes."""
        return self.weights_bytes * self.copies + self.replicas * _PROCESS_BYTES


def check_cores(resources: Resources) -> CheckResult:
    """Report the number of cores that the replicas share, and the limit that sets it."""
    allowed, quota = resources.allowed_cores, resources.cpu_quota
    if quota is not None and math.ceil(quota.cores) < allowed:
        count, reason = max(1, math.ceil(quota.cores)), f": {quota.source} allows {quota.cores:g}"
    else:
        is_pinned = allowed < resources.machine_cores
        count, reason = allowed, ": this process may not run on the others (taskset, cpuset)" if is_pinned else ""
    return CheckResult("cores", "ok", f"{count} of {resources.machine_cores} cores{reason}")


def needs_of(settings: Settings, survey: Survey) -> list[Need]:
    """Return the memory needs of services whose replicas are processes; containers have limits of their own."""
    gpus = survey.machine.gpus
    services = [service for service in settings.services if substrate_of(service, gpus) == "process"]
    return [_need(service, survey) for service in services if not service.engine.device.startswith("cuda")]


def check_memory(needs: Sequence[Need], memories: Sequence[Memory]) -> CheckResult:
    """Check that the replicas fit into the free memory.

    Args:
        needs: Memory needs of the services.
        memories: Every limit that applies to all of them, such as the machine's and a container's.
    """
    needed = sum(need.total_bytes for need in needs)
    detail = ", ".join(f"{need.service} {_gb(need.total_bytes)}" for need in needs)
    hint = (
        "allow more memory (docker run --memory, MemoryMax=, limits.memory), or use fewer replicas or a smaller model"
    )
    tightest = min(memories, key=lambda memory: memory.left_bytes, default=None)
    if tightest is None or not needs:
        return CheckResult("memory", "ok", "no replica is a process here" if not needs else "no limit is known")
    least = max(need.weights_bytes // _SMALLEST for need in needs)
    if small := [memory for memory in memories if memory.limit_bytes < least]:
        large = max(needs, key=lambda need: need.weights_bytes)
        message = f"the weights of {large.service} are {_gb(large.weights_bytes)}, and there are"
        return CheckResult(
            "memory", "blocked", f"{message} {_gb(small[0].limit_bytes)} in all: {small[0].source}", hint
        )
    left = f"{_gb(tightest.left_bytes)} of {_gb(tightest.limit_bytes)} are left: {tightest.source}"
    if needed > tightest.left_bytes:
        message = f"the replicas need about {_gb(needed)} ({detail}), {left}"
        return CheckResult("memory", "warn", message, f"{hint}; the kernel kills what does not fit")
    return CheckResult("memory", "ok", f"about {_gb(needed)} needed ({detail}), {left}")


def _need(service: Service, survey: Survey) -> Need:
    model = survey.models.get(service.name)
    if model is not None and not model.is_missing:
        weights = weights_bytes(model.folder)
    else:
        weights = _BUILTIN_BYTES if service.engine.model in {AUTO, BUILTIN} else 0  # unknown for a hub id
    count = len(devices_of(service, survey.machine.gpus))
    return Need(service.name, weights, 1 if shares_weights(service, count) else count, count)


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
