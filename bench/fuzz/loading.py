"""Fuzzing of model folders: damage them and check how the engine loads them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from bench.fuzz.damage import damaged
from bench.fuzz.folders import KINDS, Files, make_files, write_files
from bench.fuzz.numbers import Numbers
from bench.fuzz.trial import attempt, context
from embedfleet.engine.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class FolderFinding:
    """A folder that was handled wrongly."""

    number: int
    kind: str
    changes: list[str]
    told: str


@dataclass(slots=True)
class Loading:
    """The results of a run.

    Attributes:
        found: Findings.
        served: Number of folders that were loaded despite the changes.
    """

    found: list[FolderFinding]
    served: int = 0


def fuzz_folders(numbers: Numbers, tell: Callable[[FolderFinding], None]) -> Loading:
    """Run cases, each with one folder; `bench.fuzz.trial` defines what is allowed.

    Args:
        numbers: Numbers of the cases.
        tell: Function that is called with each finding.
    """
    sound = {name: make_files(kind) for name, kind in KINDS.items()}
    run, starter = Loading([]), context()
    for number in numbers:
        random = numbers.chance(number)
        name, files, changes = chosen(sound, random)
        with _written(files) as folder:
            trial = attempt(starter, folder, _settings(folder, random))
        run.served += trial.is_served
        if trial.told:
            run.found.append(FolderFinding(number, name, changes, trial.told))
            tell(run.found[-1])
    return run


def chosen(sound: dict[str, Files], random: Random) -> tuple[str, Files, list[str]]:
    """A case: name of the folder, its files and the changes to them."""
    name = random.choice(list(sound))
    return name, *damaged(sound[name], list(sound.values()), random)


def _settings(folder: Path, random: Random) -> EngineSettings:
    return EngineSettings(
        model=str(folder),
        pooling=random.choice(("auto", "auto", "auto", "mean", "splade")),
        task=random.choice(("auto", "auto", "rerank")),
        packed_dir=random.choice(("", "", str(folder.parent / "packed"))),
        cache_mb=random.choice((0, 1)),
    )


@contextmanager
def _written(files: Files) -> Iterator[Path]:
    with TemporaryDirectory(prefix="embedfleet-fuzz-") as place:
        folder = Path(place) / "model"
        write_files(folder, files)
        yield folder
