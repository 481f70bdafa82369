"""The reference pages are what the definitions make them."""

import subprocess
import sys
from pathlib import Path

from embedfleet.config.settings import FleetOptions
from embedfleet.control.host.gpu import FAMILIES

ROOT = Path(__file__).parent.parent


def test_the_reference_pages_are_fresh():
    command = [sys.executable, "-m", "scripts.docs", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr


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
