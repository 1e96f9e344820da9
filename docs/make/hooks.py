"""What mkdocs does not know of this documentation: pages made of the code, and links to files beside `docs/`.

Pages are read on the site and in the repository. Their links name files of the repository; those that lie outside
`docs/` get a place on the site, too, and every link is written anew for it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import name_page
import plan_keys
import python_pages
import verb_pages
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
_ELSEWHERE = "repository"
"""Folder of the site for files from outside `docs/`."""
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_config(config: Any) -> Any:
    """Add to the navigation what is listed elsewhere: behind the first page of a folder come the others."""
    names = [*verb_pages.pages(), *python_pages.pages(), *name_page.pages()]
    names += [f"plan-keys/{page.name}.md" for page in plan_keys.PAGES]
    _complete(config.nav, [name for name in names if not name.endswith("/index.md")])
    return config


def _complete(nav: list[Any], names: list[str]) -> None:
    """Put pages behind the index of their folder, in place."""
    for item in list(nav):
        if isinstance(item, dict):
            for part in item.values():
                if isinstance(part, list):
                    _complete(part, names)
        elif item.endswith("/index.md"):
            nav += [name for name in names if posixpath.dirname(name) == posixpath.dirname(item)]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of the code, and the files outside `docs/` that pages link to."""
    for name, text in {**verb_pages.pages(), **python_pages.pages(), **name_page.pages()}.items():
        files.append(File.generated(config, name, content=text))
    waiting = [ROOT / "docs" / file.src_uri for file in files.documentation_pages() if file.abs_src_path]
    while waiting:
        page = waiting.pop()
        for target in _targets(page):
            outside = not target.startswith("docs/") and (ROOT / target).is_file()
            if outside and files.get_file_from_path(_site_path(target)) is None:
                text = (ROOT / target).read_text(encoding="utf-8")
                files.append(File.generated(config, _site_path(target), content=text))
                waiting += [ROOT / target] if target.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Write the links of a page for the site, and the fences of code without what only a test reads."""
    source = page.file.src_uri
    generated = page.file.abs_src_path is None and not source.startswith(f"{_ELSEWHERE}/")
    if not generated:
        markdown = _outside_code(lambda text: _LINK.sub(lambda link: _rewritten(link, source), text), markdown)
    return re.sub(r"^```(\w+) .*$", r"```\1", markdown, flags=re.MULTILINE)


def _outside_code(change: Any, text: str) -> str:
    """Change a text but for its blocks of code."""
    parts, end = [], 0
    for block in _FENCE.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])


def _targets(page: Path) -> set[str]:
    """Return the files that a page of the repository links to, from the repository's root."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    links = (link[2].partition("#")[0] for link in _LINK.finditer(text) if not re.match(r"[a-z]+:|#", link[2]))
    folder = page.relative_to(ROOT).parent.as_posix()
    return {posixpath.normpath(posixpath.join(folder, link)) for link in links}


def _site_path(path: str) -> str:
    """Return where a file of the repository lies on the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{_ELSEWHERE}/{path}"


def _repository_path(path: str) -> str:
    """Return where a file of the site lies in the repository."""
    return path.removeprefix(f"{_ELSEWHERE}/") if path.startswith(f"{_ELSEWHERE}/") else f"docs/{path}"


def _rewritten(link: re.Match[str], source: str) -> str:
    """Return a link of the page `source` of the site that leads to the same file there."""
    target, mark, anchor = link[2].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    file = posixpath.normpath(posixpath.join(posixpath.dirname(_repository_path(source)), target))
    relative = posixpath.relpath(_site_path(file), posixpath.dirname(source) or ".")
    return f"{link[1]}{relative}{mark}{anchor}{link[3]}"
