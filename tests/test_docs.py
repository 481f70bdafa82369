"""The reference pages are what the definitions make them; in the others, links, paths and commands are true."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from embedfleet.cli.main import VERBS, cli
from embedfleet.config.settings import FleetOptions
from embedfleet.control.host.gpu import FAMILIES
from embedfleet.gateway.own_routes import METHODS

ROOT = Path(__file__).parent.parent


def test_the_reference_pages_are_fresh():
    command = [sys.executable, "-m", "scripts.docs", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every verb and subcommand that help lists, with its words."""
    if path:
        yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if not child.hidden:
                yield from commands(child, (*path, name))


def test_the_command_line_page_has_the_flags_of_every_verb_and_subcommand():
    page = (ROOT / "docs/reference/cli.md").read_text()
    sections = dict(re.findall(r"^#+ ([^\n]*)\n\n```\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL))
    assert list(sections) == [words for words, _ in commands(cli)]
    assert {"config check", "service install", "render nginx"} <= sections.keys()
    for words, command in commands(cli):
        assert f"Usage: embedfleet {words} " in sections[words]
        options = [one for one in command.params if isinstance(one, click.Option)]
        absent = {flag for one in options if not one.hidden for flag in one.opts if flag not in sections[words]}
        assert absent == set(), words
        assert "  --help " in sections[words]


def test_every_row_of_the_reference_is_one_line():
    for page in (ROOT / "docs/reference").glob("*.md"):
        broken = [line for line in page.read_text().splitlines() if line.startswith("|") and not line.endswith("|")]
        assert broken == [], page.name


def test_the_table_of_images_is_the_one_that_is_used():
    rows = {
        (cells[2].strip(" `"), cells[3].strip(" `")): cells[1].strip()
        for cells in (line.strip("|").split("|") for line in (ROOT / "docs/gpu.md").read_text().splitlines())
        if len(cells) == 4 and ".tar`" in cells[3]
    }
    version = FleetOptions().tei_version
    expected = {
        (family.image("", version).lstrip(":"), family.tar): str(family.capability / 10) if family.capability else ""
        for family in FAMILIES
    }
    assert rows == expected


def pages() -> list[Path]:
    top = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
    return [*(ROOT / name for name in top), *sorted((ROOT / "docs").rglob("*.md"))]


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def id_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages(), ids=id_of)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), f"{target} is not there"
            assert not anchor or anchor in anchors(file), f"{target} has no such heading"


@pytest.mark.parametrize("page", pages(), ids=id_of)
def test_no_line_of_prose_is_longer_than_a_line_of_code(page):
    if page.parent.name != "reference":
        long = [line for line in page.read_text().splitlines() if len(line) > 120 and not line.startswith("|")]
        assert long == []


@pytest.mark.parametrize("page", pages(), ids=id_of)
def test_every_path_that_a_page_names_is_there(page):
    named = re.findall(r"`((?:src|tests|bench|scripts|docs|\.github|\.ci)/[\w./-]+)`", page.read_text())
    missing = [path for path in named if not (ROOT / path).exists()]
    assert missing == [] or page.name == "CHANGELOG.md"


@pytest.mark.parametrize("page", pages(), ids=id_of)
def test_every_command_that_a_page_names_is_there(page):
    for module in re.findall(r"python -m ((?:bench|scripts)[\w.]*)", page.read_text()):
        assert find_spec(module.rstrip(".")), f"python -m {module} is not there"


def test_the_readme_names_every_verb_and_every_route():
    readme = (ROOT / "README.md").read_text()
    assert [verb for verb in VERBS if f"`{verb}`" not in readme] == []
    routes = [path.decode() for path in METHODS]
    assert [route for route in routes if f"`{route}`" not in readme and f" {route}`" not in readme] == []
