"""What the doctor says of a service's model: whether it is whole, and what TEI will get of it."""

from pathlib import Path

from embedfleet.config.settings import Service, Settings
from embedfleet.control.check import Check
from embedfleet.control.machine import read_model
from embedfleet.control.model_folder import ModelFolder, read_model_folder
from embedfleet.control.plan import Machine, runs_as
from embedfleet.control.tei.weights import weights_bytes

_WEIGHTS = (".safetensors", ".bin", ".onnx")


def check_model(settings: Settings, service: Service, machine: Machine, folder: Path) -> Check:
    """Look at the model's folder of a service.

    Args:
        settings: in force.
        service: whose replicas are started by us.
        machine: that they run on.
        folder: of the model.
    """
    name = f"model.{service.name}"
    if not folder.is_dir():
        hint = f"clone the model with git-lfs where there is a network, and copy it to {folder}"
        return Check(name, "blocked", f"there is no folder {folder}", hint)
    found = read_model_folder(folder)
    said = f"{folder}: {weights_bytes(found) / 1e9:.1f} GB"
    if runs_as(service, machine.gpus) != "docker" or service.options.image == settings.fleet.own_image:
        if missing := _missing(found):
            hint = "copy the folder anew from where it is whole; git-lfs pointers by `git lfs pull` in it"
            return Check(name, "blocked", f"{folder}/{missing}", hint)
        return Check(name, "ok", said)
    verdict = read_model(settings, service, machine, folder).verdict
    release = f"TEI {settings.fleet.tei_version}"
    if verdict.refuses:
        reasons = "; ".join(map(str, verdict.refusals))
        hints = "; ".join(dict.fromkeys(refusal.hint for refusal in verdict.refusals))
        return Check(name, "blocked", f"{folder}: {release} cannot serve it: {reasons}", hints)
    return Check(name, "ok", f"{said}, inputs of up to {verdict.max_input_length} tokens; {release} {verdict}")


def _missing(folder: ModelFolder) -> str:
    """What every server of models needs and is not there; empty if all of it is."""
    if not folder.has("config.json"):
        return "config.json is missing"
    if folder.pointers:
        return f"{min(folder.pointers)} is a git-lfs pointer, not the file itself"
    return "" if any(name.endswith(_WEIGHTS) for name in folder.sizes) else "* are no weights"
