"""The model folder of a service whose replicas are containers."""

from pathlib import Path

from embedfleet.config.model_name import AUTO, BUILTIN, model_folder, usual_folder
from embedfleet.config.settings import Service, Settings
from embedfleet.errors import UsageError


def container_model(settings: Settings, service: Service) -> Path | None:
    """Return the model folder of a service whose replicas are containers; None for our own image's built-in model.

    Raises:
        UsageError: The model is built in or a hub id, and the image cannot serve that.
    """
    model = service.engine.model
    own = service.options.image == settings.fleet.own_image
    if model == BUILTIN or (model == AUTO and own):
        if own:
            return None
        raise UsageError(
            f"services.{service.name}.model is builtin, which TEI's containers do not have",
            "give a model folder, or set image to our own",
        )
    if model == AUTO:
        model = usual_folder(service.engine.task)
    folder = model_folder(model, settings.root)
    if folder is None:
        raise UsageError(
            f"services.{service.name}.model {model} is a hub id: containers get folders, and no network",
            f"clone https://huggingface.co/{model} with git-lfs into models/ and name the folder",
        )
    return folder
