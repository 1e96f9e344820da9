"""The documentation as a site: built without a warning, complete, and without anything from the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from paths import ROOT

import medseg
from medseg.cli.app import VERBS

pytestmark = [
    pytest.mark.slow,  # builds about a hundred pages
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings_handlers")),
        reason="the extra docs is not installed",
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def test_every_page_verb_and_public_name_is_there(site: Path) -> None:
    sources = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in ROOT.glob("docs/**/*.md")]
    assert [str(path) for path in sources if not (site / path).exists()] == []
    assert [verb for verb in VERBS if not (site / "reference" / "verbs" / f"{verb}.html").exists()] == []
    python = "".join(path.read_text(encoding="utf-8") for path in (site / "reference" / "python").glob("*.html"))
    missing = [name for name in medseg.__all__ if f"medseg.{name}" not in python and name != "__version__"]
    assert missing == []


def test_nothing_comes_from_the_network(site: Path) -> None:
    """Links may lead there; scripts, styles, fonts and pictures may not."""
    fetched = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\s\">]+")
    for page in site.rglob("*.html"):
        assert [tag for tag in fetched.findall(page.read_text(encoding="utf-8")) if 'rel="canonical"' not in tag] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8"))
