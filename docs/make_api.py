"""Make the API reference from docstrings, as HTML: `python docs/make_api.py [FOLDER]`, by default build/api.

The public names of `medseg` load their modules on first use, and pdoc looks at what a module holds: each name is
loaded and kept here first.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pdoc

import medseg


def make(folder: Path) -> list[str]:
    """Write the pages of the public names into a folder and return the warnings of pdoc."""
    for name in medseg.__all__:
        setattr(medseg, name, getattr(medseg, name))
    pdoc.render.configure(docformat="google", show_source=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pdoc.pdoc("medseg", "!medseg.cli", output_directory=folder)
    # pdoc warns of what it cannot show; libraries that it imports warn of other things, some only the first time
    others = (
        DeprecationWarning,
        FutureWarning,
        ImportWarning,
        PendingDeprecationWarning,
        ResourceWarning,
        SyntaxWarning,
    )
    messages = [str(warning.message) for warning in caught if not issubclass(warning.category, others)]
    # pdoc reads the annotation of an inherited field in the module of the subclass, which need not know its names
    return [message for message in messages if "parsing type annotation" not in message]


if __name__ == "__main__":
    problems = make(Path(sys.argv[1] if len(sys.argv) > 1 else "build/api"))
    print(*problems, sep="\n")
    sys.exit(bool(problems))
