"""The verdict on a model folder for TEI: served as it is, served with corrections, or refused."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OWN_ENGINE = (
    "our own engine may serve it, on the CPU instead of the GPU: `embedfleet engine --model DIR` shows whether it"
    " serves the folder, and driver = process makes the fleet use it"
)
"""Hint for a model that TEI does not compute."""


@dataclass(frozen=True, slots=True)
class Target:
    """The TEI that will read a folder: its release, device and settings.

    Attributes:
        version: Release of TEI, as three numbers.
        on_gpu: Whether TEI runs on a GPU; its image for the CPU prefers an ONNX file.
        flash: Whether that GPU supports flash attention 2.
        dtype: Setting ``dtype``; ``auto`` leaves the choice to TEI.
        pooling: Setting ``pooling``; ``auto`` for the folder's own.
        task: Setting ``task`` of the service; ``auto`` for the model's own.
        has_prompt: Whether the settings have a default prompt, by text or name.
        prompt_name: Name of that prompt; empty if the settings have none.
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
    """A correction, by which TEI gets another value than the folder's own so that it computes the same model.

    Attributes:
        file: Path of the file below the folder; empty for a flag.
        key: Key in the file, or the flag.
        what: Description of the correction, after the file and key.
    """

    file: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{_place(self.file, self.key)} {self.what}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason why TEI cannot serve a folder, or would compute another model than the folder holds.

    Attributes:
        file: Path of the file below the folder; empty for a setting.
        key: Key in the file; empty for the file itself.
        reason: Description of the reason, after the file and key.
        hint: Remedy.
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
        refusals: Reasons to refuse the folder; empty if TEI can serve it.
        files: Content of the rewritten files, by path below the folder.
        links: Targets on this machine of files that are links to outside the folder, by path below the folder.
        flags: Values of flags for TEI besides those of the settings, by flag.
        changes: Corrections, which are the reasons for the rewritten files and the flags.
        notes: Further remarks, one line each.
        max_input_length: Longest input in tokens, including special tokens; 0 if unknown.
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
        """Digest of the files and flags, which change what TEI computes; empty if there are none."""
        if not (self.files or self.flags):
            return ""
        content = [*sorted((name, text.hex()) for name, text in self.files.items()), *sorted(self.flags.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    @property
    def refuses(self) -> bool:
        """Whether TEI cannot serve the folder, or would compute another model."""
        return bool(self.refusals)

    @property
    def serves_as_it_is(self) -> bool:
        """Whether TEI serves the folder without any correction."""
        return not (self.refusals or self.files or self.links or self.flags)

    @property
    def serves_rewritten(self) -> bool:
        """Whether TEI serves the folder with the files, links and flags."""
        return not self.refusals and not self.serves_as_it_is

    def __str__(self) -> str:
        if self.refusals:
            return "refuses it: " + "; ".join(f"{refusal} ({refusal.hint})" for refusal in self.refusals)
        return "\n  - ".join([self._summary(), *map(str, self.changes), *self.notes])

    def _summary(self) -> str:
        """Summarise the corrections in one line."""
        if not self.changes:
            return "serves it as it is"
        count = f"{len(self.changes)} correction{'s' if len(self.changes) > 1 else ''}"
        copies = ["gives TEI a corrected copy of the files below"] if self.files else []
        flags = ["starts TEI with the flags below"] if self.flags else []
        return f"serves it with {count}: `up` {' and '.join(copies + flags)}, the folder itself stays as it is"


def _place(file: str, key: str) -> str:
    """Return the name of a file's key, a flag or a setting."""
    if not file:
        return key if key.startswith("--") else f"the setting {key}"
    return f"{file}: {key}" if key else file


class Draft:
    """A verdict under construction, while the rules check a folder."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []
        self.changes: list[Change] = []
        self.notes: list[str] = []
        self.flags: dict[str, str] = {}
        self.max_input_length = 0
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}

    def refuse(self, file: str, key: str, reason: str, hint: str) -> None:
        """Add a reason to refuse the folder."""
        self.refusals.append(Refusal(file, key, reason, hint))

    def change(self, file: str, key: str, what: str) -> None:
        """Add a correction of a file; the caller calls `write` once it knows all corrections of the file."""
        self.changes.append(Change(file, key, what))

    def flag(self, name: str, value: str, what: str) -> None:
        """Add a flag for TEI, with its reason."""
        self.flags[name] = value
        self.changes.append(Change("", f"{name}={value}", what))

    def link(self, name: str, target: str) -> None:
        """Mount the target of a link for TEI, unless the file is rewritten."""
        self._links[name] = target

    def write(self, file: str, values: Any) -> None:  # noqa: ANN401 - any JSON value
        """Rewrite a file as JSON."""
        self._files[file] = json.dumps(values, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"

    def write_bytes(self, file: str, content: bytes) -> None:
        """Rewrite a file with this content."""
        self._files[file] = content

    def is_changed(self, file: str) -> bool:
        """Whether any correction concerns a file."""
        return any(change.file == file for change in self.changes)

    @property
    def verdict(self) -> Verdict:
        """The finished verdict."""
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
