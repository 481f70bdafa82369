"""The model folder that a container of TEI gets: the folder itself, or a corrected copy."""

from dataclasses import dataclass

from embedfleet.control.models.folder import ModelFolder, with_tokenizer
from embedfleet.control.tei.assembly import Assembly, assemble
from embedfleet.control.tei.folder import judge, links_of
from embedfleet.control.tei.verdict import Target, Verdict


@dataclass(frozen=True, slots=True)
class TeiModel:
    """See the module.

    Attributes:
        verdict: what TEI makes of the folder.
        assembly: the folder that it sees in its place; None if it sees it as it is.
    """

    verdict: Verdict
    assembly: Assembly | None = None


def read_for_tei(folder: ModelFolder, target: Target, *, ours: bool = False) -> TeiModel:
    """Check a model folder for TEI; never fails.

    Args:
        folder: The model folder as it was read.
        target: The release of TEI, the GPU and the options that it is read for.
        ours: Whether our own engine reads it under TEI's flags, which needs nothing but that the files exist.
    """
    found = with_tokenizer(folder)
    verdict = judge(found, target)
    if ours:
        verdict = Verdict(links=links_of(found), max_input_length=verdict.max_input_length)
    return TeiModel(verdict, None if verdict.refuses else assemble(found, verdict))
