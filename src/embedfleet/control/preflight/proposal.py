"""The fleet that `up` would start: the survey of the machine, and the plan that is made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedfleet.config.settings import Settings
from embedfleet.control.plan.plan import make_plan
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec
from embedfleet.control.preflight.survey import Survey, take_survey
from embedfleet.errors import UsageError


@dataclass(frozen=True, slots=True)
class Proposal:
    """A fleet that has not been started yet.

    Attributes:
        settings: Settings in force.
        survey: Survey of the machine.
        plan: Specs of all children, in the order in which they are started; empty if there is a fault.
        fault: Error that prevents a plan; None if there is a plan.
        images: Id in the daemon of each planned image, by reference; an id is empty if the daemon lacks the image.
    """

    settings: Settings
    survey: Survey
    plan: Sequence[ChildSpec]
    fault: UsageError | None
    images: Mapping[str, str]

    @property
    def containers(self) -> list[ContainerSpec]:
        """Specs of the children that are containers."""
        return [spec for spec in self.plan if isinstance(spec, ContainerSpec)]

    @property
    def tars(self) -> dict[str, tuple[Path, ...]]:
        """Usual tars of each planned image, by its reference."""
        return {spec.image: spec.tars for spec in self.containers}


def propose(settings: Settings, *, sockets: Path) -> Proposal:
    """Survey the machine and plan the fleet; nothing is changed.

    Args:
        settings: Settings in force.
        sockets: Folder for the admin sockets of gateways that are processes.
    """
    survey = take_survey(settings)
    plan: list[ChildSpec] = []
    fault = None
    try:
        plan = make_plan(settings, survey.machine, sockets=sockets)
    except UsageError as error:
        fault = error
    docker = survey.docker
    references = {spec.image for spec in plan if isinstance(spec, ContainerSpec)} if docker is not None else set()
    images = {name: docker.image_id(name) for name in sorted(references)} if docker is not None else {}
    return Proposal(settings, survey, plan, fault, images)
