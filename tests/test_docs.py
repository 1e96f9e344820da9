"""The pages of the documentation: links and paths that lead somewhere, and pages that can be read in one go."""

import re
import sys
from pathlib import Path

import pytest
from paths import DOCS, ROOT

from medseg.networks.table import NETWORKS
from medseg.preprocessing.normalize import NORMALIZATIONS
from medseg.training.losses.table import LOSSES

sys.path.insert(0, str(DOCS / "make"))
import name_page

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MOST_WORDS = 1550
"""About 1,500: what a reader looks for is found by headings, not by scrolling."""
LONGEST_LINE = 120
FOLDERS = ("medseg", "tests", "benchmarks", "docs", "examples", ".ci", ".github")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link} leads to no file"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link} leads to no heading"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_paths_of_the_repository_exist(page: Path) -> None:
    """Paths in backquotes that begin with a folder of the repository; `*` and a name in capitals stand for others."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for name in re.findall(rf"`(?:python |bash )?((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]+)", text):
        pattern = re.sub(r"\b[A-Z]{3,}(?=\.)", "*", name) if not name.endswith(".md") else name
        assert [*ROOT.glob(pattern)], f"{page.name}: there is no {name}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.name)
def test_pages_are_short(page: Path) -> None:
    words = len(page.read_text(encoding="utf-8").split())
    assert words <= MOST_WORDS, f"{page.name} has {words} words; divide it where a reader would look"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_folded(page: Path) -> None:
    """Tables and code keep their lines; a long link, which has no space to fold at, may stick out."""
    text = re.sub(
        r"^ *```.*?^ *```", lambda code: "\n" * code[0].count("\n"), page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    long = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > LONGEST_LINE and not line.lstrip().startswith("|") and " " in line.strip()[:LONGEST_LINE]
    ]
    assert long == [], f"{page.name}: lines {long} are longer than {LONGEST_LINE}"


def test_pages_that_the_code_names_exist() -> None:
    named = {
        (source.relative_to(ROOT), name)
        for source in ROOT.glob("medseg/**/*.py")
        for name in re.findall(r"\bdocs/[\w/-]+\.md", source.read_text(encoding="utf-8"))
    }
    assert named
    assert [(str(source), name) for source, name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for name in re.findall(r"\]\(([^)\s#:]+\.md)", page.read_text(encoding="utf-8")):
            target = (page.parent / name).resolve()
            if target.exists() and target not in reached:
                waiting.append(target)
    assert sorted(set(ROOT.glob("docs/**/*.md")) - reached) == []


def test_every_row_of_a_table_stands_in_the_documentation_with_a_line_on_it() -> None:
    """The page is made of the tables, so that a new row touches its module and its table."""
    (page,) = name_page.pages().values()
    for heading, names in {"Networks": NETWORKS, "Losses": LOSSES, "Normalizations": NORMALIZATIONS}.items():
        assert name_page.tables()[heading].keys() == names.keys()
    for heading, rows in name_page.tables().items():
        assert [name for name, text in rows.items() if len(text) < 4] == [], f"{heading} without a line on it"
        assert [name for name in rows if f"| `{name}` |" not in page] == []


def test_pages_name_only_rows_that_there_are() -> None:
    """Losses are those in the first column of the table of their page."""
    text = next(ROOT.glob("docs/**/losses.md")).read_text(encoding="utf-8")
    first = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| [^|]+ \| [^|]+ \| [^|]* \|$", text, flags=re.M)
    named = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
    assert named
    assert sorted(named - LOSSES.keys()) == []
