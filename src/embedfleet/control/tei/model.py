"""The model folder that a container of TEI gets: the folder itself, or a corrected copy."""

from dataclasses import dataclass
from pathlib import Path

from embedfleet.control.models.folder import read_model_folder, with_tokenizer
from embedfleet.control.tei.assembly import Assembly, assemble
from embedfleet.control.tei.folder import judge, links_of
from embedfleet.control.tei.verdict import Target, Verdict


@dataclass(frozen=True, slots=True)
class TeiModel:
    """A model folder for a container of TEI.

    Attributes:
        verdict: Verdict on the folder.
        assembly: Corrected copy that TEI sees instead; None if TEI sees the folder itself.
    """

    verdict: Verdict
    assembly: Assembly | None = None


def read_for_tei(folder: Path, target: Target, *, ours: bool = False) -> TeiModel:
    """Read a model folder and judge it for TEI; problems are in the verdict.

    Args:
        folder: Folder of the model.
        target: TEI that is to read the folder.
        ours: Whether our own engine runs under TEI's flags in the container; it only needs the linked files.
    """
    found = with_tokenizer(read_model_folder(folder))
    verdict = judge(found, target)
    if ours:
        verdict = Verdict(links=links_of(found), max_input_length=verdict.max_input_length)
    return TeiModel(verdict, None if verdict.refuses else assemble(found, verdict))
