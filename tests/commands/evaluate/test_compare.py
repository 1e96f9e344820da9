"""Answers compared with several others: 4 x 4 drawings with known Dice."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from small_sets import run

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.core.errors import DataError
from medseg.core.labels import Labels

ORGANS = Labels(structures={"liver": 1})
CASES = "ab"


def draw(folder: Path, voxels: int, cases: str = CASES) -> Path:
    """Write masks whose first `voxels` pixels are the liver."""
    folder.mkdir()
    for case in cases:
        pillow.fromarray((np.arange(16) < voxels).astype(np.uint8).reshape(4, 4)).save(folder / f"{case}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of 4 pixels, `right` has all, `half` 2 (Dice 2/3) and `one` 1 (Dice 2/5), the last of one case only."""
    for name, voxels in (("reference", 4), ("right", 4), ("half", 2)):
        draw(tmp_path / name, voxels)
    draw(tmp_path / "one", 1, "a")
    return tmp_path


def test_each_other_folder_has_its_differences(folder: Path) -> None:
    others = [folder / "half", folder / "one"]
    options = EvaluateOptions(compare=others, output=folder / "scores")
    result = evaluate(folder / "right", folder / "reference", ORGANS, options)
    means = [compared.differences["liver"]["dice"].difference.mean for compared in result.compared]
    assert means == pytest.approx([1 - 2 / 3, 1 - 2 / 5])
    assert [compared.path for compared in result.compared] == others
    assert [compared.not_compared for compared in result.compared] == [{}, {"b": "there is no prediction of this name"}]
    assert result.comparison is result.compared[0].differences
    written = json.loads((folder / "scores" / "metrics.json").read_text())
    assert [one["with"] for one in written["comparisons"]] == [str(path) for path in others]
    assert written["comparisons"][0]["comparison"] == written["comparison"]
    page = " ".join((folder / "scores" / "report.html").read_text().split())
    for path in others:
        assert f"minus the others in {path}" in page
    assert f"b is not compared: there is no prediction of this name in {folder / 'one'}" in page


def test_one_other_folder_is_written_as_before(folder: Path) -> None:
    options = EvaluateOptions(compare=folder / "half", output=folder / "scores")  # type: ignore[arg-type]
    evaluate(folder / "right", folder / "reference", ORGANS, options)
    assert "comparisons" not in json.loads((folder / "scores" / "metrics.json").read_text())


def test_the_option_is_given_for_each_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    line = "evaluate right reference --compare half"
    assert run(f"{line} --compare one --output scores") == 1, "one of the others lacks a case"
    assert run(f"{line} --compare one --output scores --allow-missing") == 0
    printed = capsys.readouterr().out
    assert "minus those of --compare half" in printed
    assert "minus those of --compare one" in printed
    assert run(f"{line} --compare ./half --output scores") == 2
    assert "--compare names half twice" in capsys.readouterr().err


def test_a_folder_named_twice_is_refused() -> None:
    with pytest.raises(DataError, match="names old twice"):
        _ = EvaluateOptions(compare=[Path("old"), Path("older"), Path("old")]).others


def test_other_programs_may_name_their_answers_otherwise(folder: Path) -> None:
    """A case is the reference that both are paired with; a table names it once."""
    draw(folder / "wanted", 4)
    for path in (*(folder / "half").iterdir(), *(folder / "wanted").iterdir()):
        path.rename(path.with_stem(f"{path.stem}_{'pred' if path.parent.name == 'half' else 'seg'}"))
    (folder / "cases.csv").write_text("case,site\na,A\nb,B\n")
    options = EvaluateOptions(compare=[folder / "half"], table=folder / "cases.csv", by=["site"])
    result = evaluate(folder / "right", folder / "wanted", ORGANS, options)
    assert result.comparison["liver"]["dice"].difference.mean == pytest.approx(1 - 2 / 3)
    assert result.not_compared == {}


def test_cases_that_a_single_other_file_leaves_out_are_named(folder: Path) -> None:
    options = EvaluateOptions(compare=[folder / "half" / "a.png"], output=folder / "scores")
    result = evaluate(folder / "right", folder / "reference", ORGANS, options)
    assert result.not_compared == {"b": "there is no prediction of this name"}


def test_some_of_the_others_may_be_links_to_the_same_files(folder: Path) -> None:
    (folder / "half" / "a.png").unlink()
    (folder / "half" / "a.png").symlink_to(folder / "right" / "a.png")
    options = EvaluateOptions(compare=[folder / "half"], output=folder / "scores")
    result = evaluate(folder / "right", folder / "reference", ORGANS, options)
    assert result.comparison["liver"]["dice"].difference.mean == pytest.approx((0 + 1 - 2 / 3) / 2)


def test_a_file_is_not_compared_with_itself_in_its_folder(folder: Path) -> None:
    options = EvaluateOptions(compare=[folder / "right"])
    with pytest.raises(DataError, match=r"right/a\.png would be compared with itself"):
        evaluate(folder / "right" / "a.png", folder / "reference", ORGANS, options)
