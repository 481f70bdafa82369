"""The verdict on a model folder for TEI: as it is, with corrected files, or refused."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OWN_ENGINE = (
    "our own engine may serve it, on the CPU and not on the GPU: `embedfleet engine --model DIR` tells whether it"
    " serves the folder, and driver = process has it do so in the fleet"
)
"""What to do about a model that TEI does not compute."""


@dataclass(frozen=True, slots=True)
class Target:
    """The TEI that is to read the folder: release, device, settings.

    Attributes:
        version: release of TEI, as three numbers.
        on_gpu: whether it runs on a GPU; if not, its image for the CPU takes an ONNX file first.
        flash: whether that GPU computes flash attention of version 2.
        dtype: that TEI is told; ``auto`` leaves it to TEI.
        pooling: that a person states; ``auto`` for the folder's own.
        task: that the service is for; ``auto`` for what the model is.
        has_prompt: whether a person states a default prompt, by text or name.
        prompt_name: that name; empty if none is stated.
    """

    version: tuple[int, int, int]
    on_gpu: bool = True
    flash: bool = True
    dtype: str = "auto"
    pooling: str = "auto"
    task: str = "auto"
    has_prompt: bool = False
    prompt_name: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A correction: what TEI gets in place of the folder's own value; the model stays the same.

    Attributes:
        file: of the folder, by its name below it; empty for a flag.
        key: in it, or the flag.
        what: is put right, in words.
    """

    file: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{_place(self.file, self.key)} {self.what}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why TEI cannot serve a folder, or would serve another model than it holds.

    Attributes:
        file: by its name below the folder; empty for a setting.
        key: in it; empty for the file itself.
        reason: in words.
        hint: what to do.
    """

    file: str
    key: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"{_place(self.file, self.key)} {self.reason}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a folder. Exactly one of its three boolean properties is true.

    Attributes:
        refusals: none if it is served.
        files: rewritten ones, by name below the folder, whole.
        links: files that lie outside the folder → where, on this machine.
        flags: that TEI is started with beside the settings' own, as ``--pooling`` → ``mean``.
        changes: why there are such files and flags.
        notes: what else should be known, one line each.
        max_input_length: in tokens, special ones among them; 0 if it is not known.
    """

    refusals: tuple[Refusal, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    max_input_length: int = 0

    @property
    def digest(self) -> str:
        """Of what TEI computes otherwise for the files and flags; empty if there are none."""
        if not (self.files or self.flags):
            return ""
        content = [*sorted((name, text.hex()) for name, text in self.files.items()), *sorted(self.flags.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    @property
    def refuses(self) -> bool:
        """Whether TEI cannot serve it, or would serve it as another model."""
        return bool(self.refusals)

    @property
    def serves_as_it_is(self) -> bool:
        """Whether the folder needs nothing."""
        return not (self.refusals or self.files or self.links or self.flags)

    @property
    def serves_rewritten(self) -> bool:
        """Whether it is served with the files, links and flags."""
        return not self.refusals and not self.serves_as_it_is

    def __str__(self) -> str:
        if self.refusals:
            return "refuses it: " + "; ".join(f"{refusal} ({refusal.hint})" for refusal in self.refusals)
        return "\n  - ".join([self._summary(), *map(str, self.changes), *self.notes])

    def _summary(self) -> str:
        """Who changes what, if anything is changed."""
        if not self.changes:
            return "serves it as it is"
        count = f"{len(self.changes)} correction{'s' if len(self.changes) > 1 else ''}"
        copies = ["gives TEI a corrected copy of the files below"] if self.files else []
        flags = ["starts TEI with the flags below"] if self.flags else []
        return f"serves it with {count}: `up` {' and '.join(copies + flags)}, the folder itself stays as it is"


def _place(file: str, key: str) -> str:
    """Where it is."""
    if not file:
        return key if key.startswith("--") else f"the setting {key}"
    return f"{file}: {key}" if key else file


class Draft:
    """A verdict while a folder is gone through."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []
        self.changes: list[Change] = []
        self.notes: list[str] = []
        self.flags: dict[str, str] = {}
        self.max_input_length = 0
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}

    def refuse(self, file: str, key: str, reason: str, hint: str) -> None:
        """Say why it cannot be served."""
        self.refusals.append(Refusal(file, key, reason, hint))

    def change(self, file: str, key: str, what: str) -> None:
        """Say what is put right in a file, which is to be written when all of it is known."""
        self.changes.append(Change(file, key, what))

    def flag(self, name: str, value: str, what: str) -> None:
        """Have TEI started with a flag."""
        self.flags[name] = value
        self.changes.append(Change("", f"{name}={value}", what))

    def link(self, name: str, target: str) -> None:
        """Have a file given to TEI that lies outside the folder, if it is not written anew."""
        self._links[name] = target

    def write(self, file: str, values: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Have a file written as JSON."""
        self._files[file] = json.dumps(values, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"

    def write_bytes(self, file: str, content: bytes) -> None:
        """Have a file written as it is given."""
        self._files[file] = content

    def is_changed(self, file: str) -> bool:
        """Whether anything is put right in a file."""
        return any(change.file == file for change in self.changes)

    @property
    def verdict(self) -> Verdict:
        """What came of it."""
        if self.refusals:
            return Verdict(tuple(self.refusals), max_input_length=self.max_input_length)
        links = {name: target for name, target in self._links.items() if name not in self._files}
        return Verdict(
            files=self._files,
            links=links,
            flags=self.flags,
            changes=tuple(self.changes),
            notes=tuple(self.notes),
            max_input_length=self.max_input_length,
        )
