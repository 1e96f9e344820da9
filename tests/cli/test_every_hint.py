"""Every option that a message of medseg's names is in a hint that a test follows, or there is a reason why not.

Messages are the texts in the code but docstrings; that a hint works when it is followed is shown in
`test_hints_followed.py`, whose rows say which part of the output they follow.
"""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
_NO_MESSAGES = ("other_tools.py", "options.py", "segmentation_options.py")
"""Modules with the names of options, and with those of other tools, which a test of their own follows."""
_TABLES = runpy.run_path(str(Path(__file__).with_name("test_hints_followed.py")))
ROWS = [row for name in ("EVALUATE", "DATA", "TRAIN", "SELECT", "PREDICT", "DICOM") for row in _TABLES[name]]

_ELSEWHERE = "followed in a function of its own, in this folder or in that of the verb"
_TWO_OPTIONS = "says that two options exclude each other, or that a value is not valid"
_SHAPES = "needs a data set or a model that takes long to make; refused and followed in the test of the module"
NOT_FOLLOWED = {
    "--again": _ELSEWHERE,
    "--any-processor": "needs a package that was made elsewhere; tests/commands/models/test_quantize.py runs it",
    "--boundaries": _TWO_OPTIONS,
    "--budget": _TWO_OPTIONS,
    "--cascade": "tests/cli/test_cascade_hints.py",
    "--channels": "an example of a pattern; tests/io/layouts/test_scans.py",
    "--checkpoint": "says which models the option is for, and the row in PREDICT follows these words",
    "--cluster": "needs a cluster; tests/engines",
    "--compare": "says what was compared",
    "--download": "needs a network",
    "--draw": "says what else the verb can do",
    "--encoder": "needs segmentation-models-pytorch; tests/commands/train/test_encoders.py",
    "--epochs": "says what was asked of a fold that has begun",
    "--fold": "part of a command that test_cascade_hints.py, or the test of the verb, runs",
    "--ignore": _SHAPES,
    "--init": _TWO_OPTIONS,
    "--instances": _SHAPES,
    "--json": "says where more is to be read",
    "--labelmap": _SHAPES,
    "--log": "needs a package that is missing",
    "--network": "needs segmentation-models-pytorch; tests/commands/train/test_encoders.py",
    "--no-background": _SHAPES,
    "--nproc-per-node": "an option of torchrun; needs several processes",
    "--nthreads": "an option of Dask's worker; needs a cluster",
    "--overlay": "says what draws answers where --palette had no effect; tests/commands/predict/test_predict.py",
    "--page": "needs a scan of hundreds of millions of voxels",
    "--palette": _SHAPES,
    "--preset": "says what the demo does",
    "--recipe": _TWO_OPTIONS,
    "--resample-tilt": _SHAPES,
    "--spread": _TWO_OPTIONS,
    "--steps": "part of a command that test_cascade_hints.py, or the test of the verb, runs",
    "--strict": "says what the option did",
    "--weights": "needs a file of weights; tests/models/test_encoder_weights.py",
    "--xlsx": "needs a package that is missing",
}
"""Options that messages name, and that no row follows -> why."""


def messages(path: Path) -> Iterator[str]:
    """Yield the texts of a module that are no docstrings, with {} for values."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in skipped:
            skipped |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def named_options() -> dict[str, list[str]]:
    """Return each option that a message names, with the modules."""
    named: dict[str, list[str]] = {}
    for path in sorted((ROOT / "medseg").rglob("*.py")):
        if path.name not in _NO_MESSAGES:
            for text in messages(path):
                for option in _OPTION.findall(text) if " " in text else ():
                    named.setdefault(option, []).append(path.relative_to(ROOT).as_posix())
    return named


FOLLOWED = {option for _, pattern, _ in ROWS for option in _OPTION.findall(pattern)}


@pytest.mark.parametrize("option", named_options())
def test_a_hint_on_an_option_is_followed_or_there_is_a_reason(option: str) -> None:
    assert option in FOLLOWED | NOT_FOLLOWED.keys(), f"{named_options()[option]} name it, and no hint is followed"


def test_every_reason_is_about_an_option_that_messages_name_and_no_row_follows() -> None:
    assert NOT_FOLLOWED.keys() & FOLLOWED == set()
    assert NOT_FOLLOWED.keys() - named_options().keys() == set()
