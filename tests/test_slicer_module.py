"""The module for 3D Slicer, as far as it goes without Slicer: what it asks of medseg, and makes of the records."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from paths import ROOT

sys.path.insert(0, str(ROOT / "examples" / "slicer" / "MedSeg"))
from MedSegLib.command import MedSegError, segment

MODULE = ROOT / "examples" / "slicer" / "MedSeg"


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program `medseg` of this environment, as a user chooses one."""
    path = tmp_path / "medseg"
    lines = [f"#!{sys.executable}", "import sys", f"sys.path.insert(0, {str(ROOT)!r})"]
    path.write_text("\n".join([*lines, "from medseg.__main__ import main", "main()\n"]))
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow  # a process of its own, which imports for seconds
def test_a_scan_becomes_a_segmentation_with_names_and_colours(
    program: str, small_model: Path, write_scans: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    scan = next(write_scans(tmp_path / "scans", 1).iterdir())
    told: list[tuple[float, str]] = []
    answer = segment(program, str(small_model), scan, tmp_path / "answer", lambda *done: told.append(done))
    header = Path(answer["file"]).read_bytes().split(b"\n\n")[0].decode()
    assert "Segment0_Name:=one" in header
    assert "Segment0_Color:=" in header
    assert not (tmp_path / "answer" / "index.html").exists()  # Slicer shows the answer itself
    assert [*answer["volumes"]] == ["one", "two"]
    assert answer["unit"] == "ml"
    assert told[-1] == (1.0, "predict")
    assert [share for share, _ in told] == sorted(share for share, _ in told)


@pytest.mark.slow
def test_what_medseg_says_is_what_the_user_reads(program: str, small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(MedSegError, match=r"There is no file or folder .*nowhere.nii.gz"):
        segment(program, str(small_model), tmp_path / "nowhere.nii.gz", tmp_path / "answer")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no scan")
    with pytest.raises(MedSegError, match="broken"):
        segment(program, str(small_model), broken, tmp_path / "answer")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MedSegError, match=r"medseg cannot be started: .*Choose the program medseg"):
        segment(str(tmp_path / "medseg"), "model", tmp_path / "scan.nii.gz", tmp_path / "answer")


def test_the_module_has_the_classes_that_slicer_looks_for() -> None:
    """Slicer finds them by the name of the file; here they are only parsed, as Slicer is not installed."""
    tree = ast.parse((MODULE / "MedSeg.py").read_text(encoding="utf-8"), feature_version=(3, 9))
    classes = {node.name: node.bases[0].id for node in tree.body if isinstance(node, ast.ClassDef)}  # type: ignore[attr-defined]
    kinds = ("", "Widget", "Logic")
    assert classes == {f"MedSeg{kind}": f"ScriptedLoadableModule{kind}" for kind in kinds}
    ast.parse((MODULE / "MedSegLib" / "command.py").read_text(encoding="utf-8"), feature_version=(3, 9))
