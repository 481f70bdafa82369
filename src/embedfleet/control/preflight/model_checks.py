"""Checks of the models: that each folder is complete, and that its model server can serve it."""

import json
from collections.abc import Iterator
from typing import Any

from embedfleet.config.settings import Service, Settings
from embedfleet.control.models.folder import ModelFolder, below
from embedfleet.control.preflight.check_result import CheckResult, blocked
from embedfleet.control.preflight.model_kind import kind_of, misplaced
from embedfleet.control.preflight.survey import Survey, SurveyedModel
from embedfleet.control.tei.verdict import Verdict
from embedfleet.control.tei.weights import ADAPTER, weight_files, weights_bytes

_CONFIG = "config.json"
_MODULES = "modules.json"
_WEIGHTS = (".safetensors", ".bin", ".onnx")
_READ = (".json", ".txt", ".model")
_WHOLE = "copy the folder again from a complete one, or run `git lfs pull` in it if it has git-lfs pointers"
_MERGE = "merge the adapter into the model, and save the result"


def check_models(settings: Settings, survey: Survey) -> Iterator[CheckResult]:
    """Check the model of every service that has a folder on this machine."""
    for service in settings.services:
        if service.name in survey.model_faults:
            yield blocked(f"model.{service.name}", survey.model_faults[service.name])
        elif service.name in survey.models:
            yield _check_model(settings, service, survey.models[service.name])


def _check_model(settings: Settings, service: Service, model: SurveyedModel) -> CheckResult:
    folder = model.folder.path
    if model.is_missing:
        hint = f"clone the model with git-lfs on a machine with a network, and copy it to {folder}"
        return CheckResult(f"model.{service.name}", "blocked", f"there is no folder {folder}", hint)
    if model.tei is None or service.options.image == settings.fleet.own_image:
        return _check_for_engine(service, model.folder)
    return _check_for_tei(settings, service, model.folder, model.tei.verdict)


def _check_for_engine(service: Service, found: ModelFolder) -> CheckResult:
    """Check that the files are complete; the engine itself judges the rest when it starts."""
    name, folder = f"model.{service.name}", found.path
    body = below(found, _transformer_folder(found))
    if fault := _fault(body):
        return CheckResult(name, "blocked", f"{body.path}/{fault}", _MERGE if fault.startswith(ADAPTER) else _WHOLE)
    kind = kind_of(found, body.values(_CONFIG) or {}, service.engine.pooling)
    seen = f"{folder}: {kind}; {_CONFIG} and {_size(_bytes(body))} of weights are complete"
    rest = f"the engine judges the rest when it starts (to ask it now: embedfleet engine --model {folder})"
    return _for_service(service, f"{seen}; {rest}", misplaced(kind, service.name, service.engine.task, by_tei=False))


def _check_for_tei(settings: Settings, service: Service, found: ModelFolder, verdict: Verdict) -> CheckResult:
    name, folder, pooling = f"model.{service.name}", found.path, service.engine.pooling
    release = f"TEI {settings.fleet.tei_version}"
    config: dict[str, Any] = found.values(_CONFIG) or {}
    if _CONFIG in verdict.files:
        config = json.loads(verdict.files[_CONFIG])
    kind = kind_of(found, config, pooling)
    if verdict.refuses:
        reasons = "; ".join(map(str, verdict.refusals))
        hints = "; ".join(_once([refusal.hint for refusal in verdict.refusals]))
        prefix = f"{folder}: {kind}" if config else str(folder)
        return CheckResult(name, "blocked", f"{prefix}: {release} cannot serve it: {reasons}", hints)
    size = _size(weights_bytes(found))
    message = f"{folder}: {kind}, {size}, inputs of up to {verdict.max_input_length} tokens; {release} {verdict}"
    return _for_service(service, message, misplaced(kind, service.name, service.engine.task, by_tei=True))


def _for_service(service: Service, message: str, misfit: tuple[str, str]) -> CheckResult:
    """Return the result for a model that can be served; it is a warning if the model does not suit the service."""
    problem, hint = misfit
    if problem:
        return CheckResult(f"model.{service.name}", "warn", f"{problem}; {message}", hint)
    return CheckResult(f"model.{service.name}", "ok", message)


def _once(hints: list[str]) -> list[str]:
    """Drop repeated hints, and hints that are part of another one."""
    return [hint for hint in dict.fromkeys(hints) if not any(hint != other and hint in other for other in hints)]


def _transformer_folder(folder: ModelFolder) -> str:
    """Return the subfolder that holds the transformer; empty for the model folder itself."""
    rows = folder.json.get(_MODULES)
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    path = str(first.get("path") or "")
    return path if not folder.has(_CONFIG) and folder.has(f"{path}/{_CONFIG}") else ""


def _fault(folder: ModelFolder) -> str:
    """Return the fault of the files that every model server needs; empty if there is none."""
    if not folder.has(_CONFIG):
        return f"{_CONFIG} is missing"
    if folder.has(ADAPTER):
        return f"{ADAPTER} shows that these weights are an adapter (PEFT), which a model server does not apply"
    weights = _weights(folder)
    if pointers := [name for name in sorted(folder.pointers) if name in weights or name.endswith(_READ)]:
        return f"{pointers[0]} is a git-lfs pointer, not the file itself"
    if folder.values(_CONFIG) is None:
        return f"{_CONFIG} cannot be read: {folder.broken.get(_CONFIG, 'it holds no JSON object')}"
    if not weights:
        return "*: there are no weights"
    return next((f"{name} {what}" for name in weights if (what := _broken(folder, name))), "")


def _broken(folder: ModelFolder, name: str) -> str:
    """Return the fault of a weight file, without reading its tensors; empty if there is none."""
    size = folder.sizes.get(name)
    if size is None:
        return "is missing: the index names it"
    if size < 0:
        return "is a broken link, or may not be read"
    if not size:
        return "is empty"
    is_truncated = name.endswith(".safetensors") and name not in folder.tensors
    return "is not a safetensors file, or is truncated" if is_truncated else ""


def _weights(folder: ModelFolder) -> list[str]:
    return weight_files(folder) or sorted(name for name in folder.sizes if name.endswith(_WEIGHTS))


def _bytes(folder: ModelFolder) -> int:
    return sum(max(0, folder.sizes[name]) for name in _weights(folder))


def _size(count: int) -> str:
    """Return a number of bytes in MB or GB."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.2f} MB"
