"""The reference of the Python API: every public name of `medseg`, by subject, shown by mkdocstrings."""

from __future__ import annotations

import medseg

_SUBJECTS = {
    "verbs": ("What `medseg` does", ("commands.",)),
    "data": (
        "Images, labels, plans, models",
        ("core.image", "core.labels", "io.", "plans.", "planning.", "inference.", "delivery.provenance."),
    ),
    "options": ("Options shared by verbs, progress", ("datasets.", "delivery.", "core.progress")),
    "extend": ("Your own network, loss, format, measure", ("extend",)),
    "errors": ("Errors and warnings", ("core.errors",)),
}
"""Page -> its title, and the beginnings of the modules whose public names it shows."""


def pages() -> dict[str, str]:
    """Return the pages by their path on the site.

    Raises:
        ValueError: a public name belongs to no page.
    """
    left = dict(medseg._MODULES)
    made = {}
    for name, (title, modules) in _SUBJECTS.items():
        members = [key for key in left if left[key].startswith(modules)]
        shown = [_shown(key, f"medseg.{left.pop(key)}.{key}") for key in members]
        made[f"reference/python/{name}.md"] = "\n".join([f"# {title}", "", *shown])
    if left:
        raise ValueError(f"no page of docs/make/python_pages.py shows {', '.join(left)}")
    rows = [f"- [{title}]({name}.md)" for name, (title, _) in _SUBJECTS.items()]
    words = "Everything below is imported from `medseg` itself: `import medseg; medseg.plan(...)`."
    made["reference/python/index.md"] = "\n".join(["# Python", "", words, "", *rows, ""])
    return made


def _shown(name: str, path: str) -> str:
    return f"::: {path}\n    options:\n      heading: medseg.{name}\n      toc_label: {name}\n"
