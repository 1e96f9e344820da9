"""Who may import whom, and what an import costs."""

import ast
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from medseg.core.image import Image
from medseg.io.images import write_label

HEAVY = ("torch", "numpy", "scipy", "nibabel", "matplotlib", "pydantic", "sklearn", "monai", "PIL")


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_imports_only_from_its_left() -> None:
    pytest.importorskip("importlinter")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " kept, 0 broken" in done.stdout


TESTED_ABOVE = {"plans/sections"}
"""Folders whose modules are tested as parts of what lies above: sections are read with the plan."""
MOST_FILES = 20


def folders(root: Path) -> dict[str, int]:
    """Return the number of modules in each folder below `root` that has any."""
    modules = [path for path in (ROOT / root).rglob("*.py") if path.name != "__init__.py"]
    counted = Counter(path.parent.relative_to(ROOT / root).as_posix() for path in modules)
    return dict(counted)


def test_tests_mirror_the_tree_and_no_folder_is_crowded() -> None:
    package, tests = folders(Path("medseg")), folders(Path("tests"))
    assert package.keys() - tests.keys() - TESTED_ABOVE == set()
    assert {folder: count for tree in (package, tests) for folder, count in tree.items() if count > MOST_FILES} == {}


def test_importing_medseg_loads_nothing_heavy() -> None:
    assert run(f"import sys, medseg; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_planning_checking_and_scoring_need_no_torch_and_no_scikit_learn(tmp_path):
    """Both take longer to import than a small data set to read."""
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for number in range(6):
        values = np.random.default_rng(number).integers(0, 200, (1, 12, 14, 16))
        image = Image(values.astype(np.uint8), np.eye(4))
        write_label(tmp_path / f"set/imagesTr/case{number}_0000.nii.gz", image)
        write_label(tmp_path / f"set/labelsTr/case{number}.nii.gz", image.with_array((values > 150).astype(np.uint8)))
    shutil.copytree(tmp_path / "set" / "labelsTr", tmp_path / "answers")
    names = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "bright": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({**names, "numTraining": 6}))
    code = (
        "import os, sys, medseg; os.chdir(sys.argv[1]); "
        "medseg.check('set'); medseg.plan('set', options=medseg.PlanOptions(preset='cpu')); "
        "medseg.evaluate('answers', 'set/labelsTr'); "
        "print([name for name in ('torch', 'sklearn', 'monai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


def test_every_public_name_is_there() -> None:
    code = "import medseg; print([name for name in medseg.__all__ if getattr(medseg, name, None) is None])"
    assert run(code + "; print(set(medseg.__all__) <= set(dir(medseg)))").split() == ["[]", "True"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    code = "import medseg\ntry:\n    medseg.nothing\nexcept AttributeError as error:\n    print(error)"
    assert run(code) == "module 'medseg' has no attribute 'nothing'"


def test_no_module_needs_another_to_have_been_imported_first() -> None:
    """What modules import as they are loaded forms no circle, so that they load in any order.

    That each of them loads at all is shown by the doctests, which pytest takes from every module.
    """
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((ROOT / "medseg").rglob("*.py"))
    }
    sorter = TopologicalSorter({name: _loads(name, path, files.keys()) for name, path in files.items()})
    assert len(list(sorter.static_order())) == len(files)  # it raises CycleError, with the modules of the circle


def _loads(name: str, path: Path, modules: Set[str]) -> set[str]:
    """Modules of medseg that loading a module loads: those that it names, and the packages that they lie in.

    Packages that it lies in itself are loaded or being loaded before it: they count only if it takes names of them.
    """
    named: set[str] = set()
    for statement in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import):
            named |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, "relative imports are not looked at"
            module = statement.module or ""
            inner = {f"{module}.{alias.name}" for alias in statement.names}
            named |= inner if inner <= modules else {module} | (inner & modules)
    packages = {other.rsplit(".", count)[0] for other in named for count in range(1, other.count(".") + 1)}
    return modules & (named | {package for package in packages if not name.startswith(f"{package}.")})


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run as a module is loaded: not those of functions, nor those for type checkers."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        checked = isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test)
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(statement, field, []) if not (checked and field == "body") else []
            for part in inner if isinstance(inner, list) else []:
                yield from _statements([part] if isinstance(part, ast.stmt) else part.body)
