"""Who may import whom, and what an import costs."""

import subprocess
import sys

import pytest
from paths import ROOT

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


def test_importing_medseg_loads_nothing_heavy() -> None:
    assert run(f"import sys, medseg; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_every_public_name_is_there() -> None:
    assert run("import medseg; print([name for name in medseg.__all__ if getattr(medseg, name, None) is None])") == "[]"
    assert run("import medseg; print(set(medseg.__all__) <= set(dir(medseg)))") == "True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    code = "import medseg\ntry:\n    medseg.nothing\nexcept AttributeError as error:\n    print(error)"
    assert run(code) == "module 'medseg' has no attribute 'nothing'"


def test_no_module_needs_another_to_have_been_imported_first() -> None:
    """Each module alone, as a circular import shows only in some order."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "medseg").rglob("*.py"))
        if path.name != "__main__.py"
    ]
    code = f"""
import importlib, sys
failed = {{}}
for name in {names}:
    for loaded in [key for key in sys.modules if key.split(".")[0] == "medseg"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(failed)
"""
    assert run(code) == "{}"
