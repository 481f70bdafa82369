"""Writes docs/reference from the definitions of options, verbs, metrics, errors and models; ``--check`` for stale pages."""

import inspect
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from embedfleet import errors
from embedfleet.cli.main import EXIT_CODES, VERBS, cli
from embedfleet.config.option import Option, options_of
from embedfleet.config.settings import DEFAULT_SERVICES, SERVICE_RECORDS, FleetOptions
from embedfleet.engine.families.registry import MODEL_TYPES
from embedfleet.metrics import GATEWAY, TEI, Definition
from embedfleet.model_folder.keys.key import Key
from embedfleet.model_folder.keys.table import KEYS

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "<!-- made by `python -m scripts.docs`; edit the definitions, not this page -->"


def settings_page() -> str:
    """Every option: key, what it takes, default, help."""
    lines = [
        "# Settings",
        NOTE,
        "",
        "All are optional. A value is taken from a flag, else from the environment, else from `fleet.toml` in the working",
        "directory (or `--config FILE`, or `EMBEDFLEET_CONFIG`), else it is the default. Unknown keys and wrong values are",
        "errors, all of them in one message. `embedfleet config` shows what is in force and where it came from.",
        "",
        "The environment is not embedfleet's alone. A variable with its prefix that sets nothing is a warning, and what",
        "Kubernetes sets for a service named `embedfleet…` is passed over, both with one line on stderr. An empty variable or",
        "flag, as of Compose's `${X:-}`, is as good as none, but for options that may be empty: their default is, or they say",
        "so. `status`, `down`, `logs`, `drain` and `undrain` go on with what is sound and say what they left out.",
        "",
        "## The fleet",
        "",
        "In `fleet.toml` under `[fleet]`; in the environment `EMBEDFLEET_` and the name in capitals, as",
        "`EMBEDFLEET_LOG_LEVEL`; as a flag of `up`, as `--log-level`.",
        "",
        *_table(options_of(FleetOptions).values()),
        "",
        "## A service",
        "",
        "In `fleet.toml` under `[services.NAME]`; in the environment `EMBEDFLEET_NAME_OPTION`, as",
        "`EMBEDFLEET_EMBEDDER_PORT`; as a flag `--set NAME.OPTION=VALUE`, as `--set embedder.port=9001`. Without a file there",
        "are these services:",
        "",
    ]
    for name, own in DEFAULT_SERVICES.items():
        lines.append(f"- `{name}`: " + ", ".join(f"{key} = {value}" for key, value in own.items()))
    for record in SERVICE_RECORDS:
        lines += ["", f"### {inspect.getdoc(record)}", "", *_table(options_of(record).values())]
    return "\n".join(lines) + "\n"


def _table(options: Iterable[Option]) -> list[str]:
    rows = ["| option | takes | default | what it is |", "| --- | --- | --- | --- |"]
    for option in options:
        default = json.dumps(option.default) if option.default != "" else ""
        rows.append(f"| `{option.name}` | {option.takes} | {default} | {option.help} |")
    return rows


def cli_page() -> str:
    """Every verb's help."""
    codes = EXIT_CODES.replace("\b\n", "").strip()
    lines = [
        "# Command line",
        NOTE,
        "",
        "```",
        codes,
        "```",
        "",
        "stdout is data, stderr is talk. `NO_COLOR` is obeyed.",
    ]
    context = click.Context(cli, info_name="embedfleet", terminal_width=100)
    for name in VERBS:
        command = cli.get_command(context, name)
        assert command is not None
        text = command.get_help(click.Context(command, info_name=name, parent=context, terminal_width=100))
        lines += ["", f"## {name}", "", "```", text, "```"]
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Every metric of both planes."""
    lines = ["# Metrics", NOTE, "", "Prometheus text at `GET /metrics`."]
    for title, table in (("Gateway", GATEWAY), ("Engine, by TEI's names", TEI)):
        lines += ["", f"## {title}", "", "| metric | kind | labels | what it is |", "| --- | --- | --- | --- |"]
        lines += [_metric(definition) for definition in table]
    return "\n".join(lines) + "\n"


def _metric(definition: Definition) -> str:
    labels = ", ".join(f"`{label}`" for label in definition.labels)
    return f"| `{definition.name}` | {definition.kind} | {labels} | {definition.help} |"


def errors_page() -> str:
    """Every error that a client can get."""
    lines = [
        "# Errors",
        NOTE,
        "",
        "Requests that no model needs to see are refused as `text/plain`; the others as TEI does it:",
        '`{"error": "…", "error_type": "…"}`, and on `/v1/*` and `/embeddings` `{"message": "…", "code": 422, "type": "…"}`.',
        "429 and 503 carry `Retry-After`.",
        "",
        "| status | type | when |",
        "| --- | --- | --- |",
    ]
    for kind in vars(errors).values():
        if not inspect.isclass(kind) or kind in {errors.RequestError, errors.ServingError}:
            continue
        summary = (inspect.getdoc(kind) or "").splitlines()[0]
        if issubclass(kind, errors.RequestError):
            lines.append(f"| {kind.status} | text | {summary} |")
        elif issubclass(kind, errors.ServingError):
            lines.append(f"| {kind.status} | {kind.error_type} | {summary} |")
    return "\n".join(lines) + "\n"


def models_page() -> str:
    """The engine's model families."""
    lines = [
        "# Models of the engine",
        NOTE,
        "",
        "The engine reads a folder in Hugging Face layout whose `config.json` has one of these `model_type`s. The architecture",
        "tells what the model is: a classifier (`*ForSequenceClassification`, or weights with a classification head that",
        "`architectures` does not name), a reranker (a classifier with one label), SPLADE (`*ForMaskedLM`, if `pooling` or",
        "sentence-transformers' `modules.json` says so), else an embedder. A generative model is a reranker if its folder says",
        "so ([how](../engine.md#rerankers-that-generate)).",
        "",
        "| `model_type` | family |",
        "| --- | --- |",
    ]
    for name, family in sorted(MODEL_TYPES.items()):
        lines.append(f"| `{name}` | {inspect.getdoc(inspect.getmodule(family))} |")
    lines += [
        "",
        "## What the files say",
        "",
        "The keys that transformers and sentence-transformers read of a folder, and what our engine and TEI 1.9.3 do with",
        "them:",
        "",
        "- **honoured**: as the libraries do.",
        "- **harmless**: no number that is served depends on it.",
        "- **refused**: the model does not start, and the error names the file and the key. The cell says for which values.",
        "- **misread** (only by TEI): numbers depend on it, and TEI ignores it or takes it for something else, without a word.",
        "",
        "The TEI column is TEI by itself. Before `up` starts TEI it checks the folder ([what TEI gets](../gpu.md#what-tei-gets)).",
        "Where the cell says *`up` corrects it*, TEI gets a corrected copy of the file (or a flag), and the model stays the same.",
        "Of the rest, `up` refuses the folder, by file and key, if TEI would not start or would serve another model. It leaves",
        "`gelu` as it is ([by how much numbers differ](../conformance.md#values)). It does not check `pruned_heads`,",
        "`query_length`, `document_length`, `query_expansion`, the keys of SpladePooling and Normalize, and `model_input_names`",
        "of an embedder.",
        "",
        "| file | key | what it changes | our engine | TEI |",
        "| --- | --- | --- | --- | --- |",
        *map(_key, KEYS),
    ]
    return "\n".join(lines) + "\n"


def _key(key: Key) -> str:
    names = ", ".join(f"`{name}`" for name in key.keys)
    ours, theirs = (
        f"{verdict}: {note}" if note else str(verdict)
        for verdict, note in ((key.engine, key.note), (key.tei, key.tei_note))
    )
    theirs += ". *`up` corrects it*" if key.is_corrected else ""
    return f"| `{key.file}` | {names} | {key.meaning} | {ours} | {theirs} |"


PAGES = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "metrics.md": metrics_page,
    "errors.md": errors_page,
    "models.md": models_page,
}


def main() -> None:
    """Write the pages, or with ``--check`` name those that are stale."""
    stale = []
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        text = page()
        file = FOLDER / name
        if "--check" not in sys.argv:
            file.write_text(text)
        elif not file.is_file() or file.read_text() != text:
            stale.append(name)
    if stale:
        sys.exit(f"docs/reference is stale: {', '.join(stale)}; run python -m scripts.docs")


if __name__ == "__main__":
    main()
