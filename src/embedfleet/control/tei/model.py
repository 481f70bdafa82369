"""The model folder that a TEI container gets: the folder itself, or a corrected copy."""

from dataclasses import dataclass

from embedfleet.control.models.folder import ModelFolder, with_tokenizer
from embedfleet.control.tei.assembly import Assembly, assemble
from embedfleet.control.tei.folder import judge, links_of
from embedfleet.control.tei.verdict import Target, Verdict


@dataclass(frozen=True, slots=True)
class TeiModel:
    """A model folder for a TEI container.

    Attributes:
        verdict: Verdict on the folder.
        assembly: Corrected copy that TEI sees instead; None if TEI sees the folder itself.
    """

    verdict: Verdict
    assembly: Assembly | None = None


def read_for_tei(folder: ModelFolder, target: Target, *, own_engine: bool = False) -> TeiModel:
    """Judge a model folder for TEI; the verdict holds the problems.

    Args:
        folder: Folder of the model, as it was read.
        target: TEI that will read the folder.
        own_engine: Whether the container runs our own engine with TEI's flags, which needs only the linked files.
    """
    found = with_tokenizer(folder)
    verdict = judge(found, target)
    if own_engine:
        verdict = Verdict(links=links_of(found), max_input_length=verdict.max_input_length)
    return TeiModel(verdict, None if verdict.refuses else assemble(found, verdict))
