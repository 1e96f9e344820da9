"""Hints name options, verbs, plan keys and extras that exist, and what they say to do has been done here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

import medseg
from medseg.cli.app import VERBS
from medseg.cli.parsing.hints import options_of, with_owners
from medseg.cli.parsing.other_tools import OTHER_OPTIONS
from medseg.plans.schema import Configuration, Plan

ROOT = Path(medseg.__file__).parent
VERBS_OF_FOLDER = {
    "checking": "check plan",
    "cli": " ".join(VERBS),
    "commands/crossval": "crossval",
    "commands/data": "check plan series labelme",
    "commands/dicom": "dicom",
    "commands/evaluate": "evaluate",
    "commands/machine": "predict",
    "commands/models": "package export import-nnunet networks plan quantize",
    "commands/predict": "predict",
    "commands/rank": "rank",
    "commands/records": "report verify",
    "commands/select": "select",
    "commands/train": "train",
    "commands/view": "view",
    "commands/watch": "watch",
    "core": "plan",
    "datasets": "plan",
    "delivery/answers": "predict",
    "delivery/dicom": "dicom predict",
    "delivery/logs": "train",
    "delivery/pages": "predict train",
    "engines": "predict",
    "evaluation": "evaluate",
    "inference": "predict",
    "io": "plan predict",
    "models": "predict train",
    "networks": "train",
    "planning": "plan train",
    "plans": "train",
    "preprocessing": "plan predict",
    "selection": "predict",
    "training": "train",
}
"""Folder -> the verbs whose options its messages may name; readers of files advise the options of `medseg plan`, and
`with_owners` adds the verb where another one prints them."""
OTHERS = {
    "cli/app.py": "--version",
    "commands/crossval/folds.py": "--nthreads",  # of dask worker
    "commands/select/select.py": "--plan",  # of medseg crossval, whose whole command its hints are
    "cli/parsing/other_tools.py": " ".join(  # their own
        option for options in OTHER_OPTIONS.values() for option in options if option.startswith("--")
    )
    + " --nproc-per-node",
    "delivery/provenance/manifest.py": "--always --dirty --abbrev --match",  # git's
    "engines/on_worker.py": "--nthreads",
    "engines/start.py": "--nthreads --test-only",  # the second is sbatch's
    "evaluation/label_files.py": "--prediction- --structures --colours",  # what is cut from hints
    "training/step/ranks.py": "--nproc-per-node",  # torchrun's
}
"""File -> options in it that are those of another program, or in no message."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_-]*")
KEY = re.compile(r"(?<![\w./])(?:training|inference|data|network|scoring|labels|request)\.[a-z_.]*[a-z]\b")
FILES = {
    "inference.json",
    "labels.json",
    "labels.txt",
    "labels.itksnap.txt",
    "labels.slicer.ctbl",
    "inference.predictor",
}


@cache
def strings() -> list[tuple[str, str]]:
    """Return (file, text) of all strings of the package."""
    return list(_strings())


def _strings() -> Iterator[tuple[str, str]]:
    """Yield (file, text) of every string in the package that is no docstring; in f-strings {} for what is put in."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes, parts = list(ast.walk(tree)), set()
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts |= {*ast.walk(node)} - {node}
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                parts.add(node.value)
        for node in nodes:
            if node in parts:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.relative_to(ROOT).as_posix(), node.value
            elif isinstance(node, ast.JoinedStr):
                texts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
                yield path.relative_to(ROOT).as_posix(), "".join(texts)


def test_options_in_messages_are_those_of_the_verb_that_prints_them() -> None:
    wrong = []
    for file, text in strings():
        options = OPTION.findall(text)
        if not options:
            continue
        folder = next((folder for folder in VERBS_OF_FOLDER if file.startswith(f"{folder}/")), None)
        verbs = VERBS_OF_FOLDER[folder].split() if folder else []
        verbs += [verb for verb in re.findall(r"medseg ([a-z-]+)", text) if verb in VERBS]
        verbs += ["plan"] if "the command that made the plan" in text.lower() else []
        known = {*OTHERS.get(file, "").split()}.union(*map(options_of, verbs))
        wrong += [(file, option, text) for option in options if option not in known]
    assert wrong == []


def test_verbs_and_extras_in_messages_exist() -> None:
    project = (ROOT.parent / "pyproject.toml").read_text()
    extras = set(re.findall(r"^(\w+) = \[", project.partition("[project.optional-dependencies]")[2], re.MULTILINE))
    for file, text in strings():
        for verb in re.findall(r"`medseg ([a-z-]+)", text):
            assert verb in VERBS, (file, text)
        for extra in re.findall(r"medseg\[(\w+)\]", text):
            assert extra in extras, (file, text)


def test_plan_keys_in_messages_exist() -> None:
    keys = {key for _, text in strings() for key in KEY.findall(text)} - FILES
    assert {key for key in keys if not (has_key(Plan, key) or has_key(Configuration, key))} == set()
    assert len(keys) > 20


def has_key(kind: Any, key: str) -> bool:
    """Whether a section of the plan has a key, such as training.steps."""
    name, _, rest = key.partition(".")
    if get_origin(kind) is dict:
        return True  # the keys of a table are the user's
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return False
    if name not in kind.model_fields:
        return False
    annotation = kind.model_fields[name].annotation
    kinds = [annotation, *get_args(annotation)]
    kinds += [part for kind in kinds for part in get_args(kind)]  # of the forms of a key that are told apart by a tag
    return not rest or any(has_key(part, rest) for part in kinds)


def test_an_option_of_another_verb_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "If both are right, --resample-labels brings label maps to the grid of their scan."
    monkeypatch.setattr("sys.argv", ["medseg", "train", "--fold", "0"])
    assert with_owners(hint) == f"{hint} (--resample-labels is an option of `medseg plan`.)"
    assert with_owners("`medseg plan` with --memory 8GB") == "`medseg plan` with --memory 8GB"
    monkeypatch.setattr("sys.argv", ["medseg", "plan", "data"])
    assert with_owners(hint) == hint
