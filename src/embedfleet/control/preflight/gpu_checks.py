"""Checks of the NVIDIA driver and the GPUs; a temporary container shows whether Docker grants a GPU."""

from collections.abc import Iterator

from embedfleet.control.docker.client import ExecResult
from embedfleet.control.docker.container_engine import major_minor
from embedfleet.control.host.nvml import NvidiaDriver
from embedfleet.control.plan.usable_gpus import families_of
from embedfleet.control.preflight.check_result import CheckResult, blocked, ok, warning
from embedfleet.control.preflight.proposal import Proposal
from embedfleet.control.preflight.survey import Survey
from embedfleet.control.tei.container_flags import parse_version
from embedfleet.control.tei.weights import weights_bytes
from embedfleet.errors import FleetError

_OLDEST_DRIVER = (525, 60)  # for CUDA 12, on which TEI's images are built
_MISREAD_DRIVER = 600  # first version that TEI's entrypoint misreads, up to TEI 1.9.3 (issue 870)
_BESIDES_WEIGHTS = 1 << 30  # GPU memory of a replica's context and warm-up batch, in bytes: a low estimate


def check_gpus(proposal: Proposal) -> Iterator[CheckResult]:
    """Check the driver, its version, and the type and load of the GPUs that containers are placed on."""
    survey = proposal.survey
    if survey.driver_fault is not None:
        yield blocked("driver.present", survey.driver_fault)
        return
    if survey.driver is not None:
        yield ok("driver.present", f"NVIDIA driver {survey.driver.version} with {len(survey.driver.gpus)} GPUs")
        yield from _check_driver_version(survey.driver, proposal.settings.fleet.tei_version)
    if survey.gpu_fault is not None:
        yield blocked("gpu.type", survey.gpu_fault)
        return
    families = families_of(proposal.settings, survey.machine.gpus)
    names = ", ".join(f"{gpu.index} {gpu.name} ({family.name})" for gpu, family in families.items())
    yield ok("gpu.type", names or "no GPU is used")
    for gpu in families:
        if gpu.processes:
            pids = ", ".join(map(str, gpu.processes))
            yield warning(
                "gpu.busy", f"GPU {gpu.index} ({gpu.name}) is used by processes {pids}", "nvidia-smi shows them"
            )


def _check_driver_version(driver: NvidiaDriver, release: str) -> Iterator[CheckResult]:
    version = major_minor(driver.version)
    if version < _OLDEST_DRIVER:
        yield warning(
            "driver.version",
            f"driver {driver.version} is older than 525.60",
            "TEI's images need CUDA 12: update the driver",
        )
    elif version[0] >= _MISREAD_DRIVER and parse_version(release) <= (1, 9, 3):
        yield warning(
            "driver.version",
            f"TEI {release}'s entrypoint misreads driver {driver.version}: containers start without that entrypoint",
            "use a newer tei_version once there is one",
        )


def check_device_requests(proposal: Proposal) -> Iterator[CheckResult]:
    """Start a temporary container on each GPU, as for a replica, so that a refusal shows before the fleet starts."""
    docker, engine = proposal.survey.docker, proposal.survey.engine
    if docker is None or engine is None:
        return
    images: dict[str, str] = {}
    for spec in proposal.containers:
        if spec.gpu:
            images.setdefault(spec.gpu, spec.image)
    for gpu, image in images.items():
        if not proposal.images[image]:
            yield ok("docker.gpu", f"{gpu} is not tried out: {image} is not in the daemon yet")
            continue
        try:
            request = engine.device_request(proposal.settings.fleet.device_request)
            result = docker.try_out(image, ["-c", ":"], entrypoint="/bin/sh", gpu=gpu, request=request)
        except FleetError as error:
            yield blocked("docker.gpu", error)
            continue
        yield trial_result("docker.gpu", result, f"a container can be given {gpu}")


def trial_result(name: str, result: ExecResult, good: str, hint: str = "see the line above") -> CheckResult:
    """Return the result of a check that ran a command.

    Args:
        name: Id of the check.
        result: Result of the command.
        good: Message if the command succeeded.
        hint: Hint if it failed.
    """
    if result.code == 0:
        return ok(name, good)
    return blocked(name, FleetError(f"the command ended with code {result.code}: {result.output.strip()[-400:]}", hint))


def check_gpu_memory(proposal: Proposal) -> Iterator[CheckResult]:
    """Compare the weights of each GPU's replicas with its free memory, unless containers of this fleet exist."""
    if proposal.survey.containers:
        return
    for gpu in families_of(proposal.settings, proposal.survey.machine.gpus):
        services = [spec.service for spec in proposal.containers if spec.gpu == gpu.uuid]
        needed = sum(_least_bytes(proposal.survey, service) for service in services)
        if gpu.memory_bytes and needed > gpu.free_bytes:
            error = FleetError(
                f"GPU {gpu.index} ({gpu.name}) has {gpu.free_bytes / 1e9:.1f} GB free, but its replicas need"
                f" {needed / 1e9:.1f} GB or more",
                "end what uses it (nvidia-smi), or give the services different `devices`",
            )
            yield blocked("gpu.memory", error)
        elif gpu.memory_bytes:
            yield ok("gpu.memory", f"GPU {gpu.index}: {gpu.free_bytes / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed")


def _least_bytes(survey: Survey, service: str) -> int:
    """Return the least memory of one replica, in bytes: TEI holds weights in float16, at half their size in float32."""
    model = survey.models.get(service)
    if model is None or model.is_missing:
        return 0
    return weights_bytes(model.folder) // 2 + _BESIDES_WEIGHTS
