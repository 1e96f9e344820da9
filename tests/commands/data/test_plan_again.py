"""A plan that is made again with `--force`: which files and cases it is about, and what a person filled in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

from medseg.commands.data.options import PlanOptions
from medseg.commands.data.plan import PlanResult, plan
from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions


def draw(path: Path, darkest: int) -> None:
    """Write a picture of 32 x 32 pixels between two shades of grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = np.random.default_rng(darkest).integers(darkest, darkest + 40, (32, 32))
    pillow.fromarray(shades.astype(np.uint8)).save(path)


def draw_label(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.zeros((32, 32), np.uint8)
    label[8:20, 6:18] = 1
    pillow.fromarray(label).save(path)


def go(folder: Path, replace: bool = True, **data: object) -> PlanResult:
    options = PlanOptions(preset="cpu", replace=replace, data=DataOptions(**data))  # type: ignore[arg-type]
    return plan(folder / "data", folder, options=options)


def fill_in_patients(made: PlanResult) -> None:
    """Say that the cases are of three patients."""
    head, *rows = made.cases_path.read_text().splitlines()
    column = head.split(",").index("patient")
    cells = [row.split(",") for row in rows]
    lines = [",".join([*row[:column], f"patient{n % 3}", *row[column + 1 :]]) for n, row in enumerate(cells)]
    made.cases_path.write_text("\n".join([head, *lines]) + "\n")


def patients(made: PlanResult) -> set[str]:
    head, *rows = made.cases_path.read_text().splitlines()
    return {row.split(",")[head.split(",").index("patient")] for row in rows}


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder for each of six cases, with a dark t1, a bright flair and a label."""
    for case in (f"p{number}" for number in range(1, 7)):
        draw(tmp_path / "data" / case / f"{case}_t1.png", 20)
        draw(tmp_path / "data" / case / f"{case}_flair.png", 180)
        draw_label(tmp_path / "data" / case / f"{case}_seg.png")
    return tmp_path


@pytest.mark.parametrize("again", [{}, {"images": ("t1", "flair")}])
def test_channels_and_patients_stay(cases: Path, again: dict[str, tuple[str, ...]]) -> None:
    fill_in_patients(go(cases, replace=False, images=("t1", "flair")))
    made = go(cases, **again)
    assert made.plan.data.channels == ["t1", "flair"]
    dark, bright = (intensities.median for intensities in made.plan.data.intensities)
    assert dark < 100 < bright
    assert patients(made) == {"patient0", "patient1", "patient2"}
    assert made.plan.request.options["images"] == ["t1", "flair"]


def test_patterns_are_remembered(tmp_path: Path) -> None:
    for number in range(1, 7):
        draw(tmp_path / "data" / "one" / f"c{number}.png", 20)
        draw(tmp_path / "data" / "two" / f"c{number}.png", 180)
        draw_label(tmp_path / "data" / "seg" / f"c{number}.png")
    with pytest.raises(DataError, match="--images names 2 folders, one, two") as refused:
        go(tmp_path, replace=False, images=("one", "two"), labels="seg")
    assert "--images 'one/*.png' --images 'two/*.png'" in str(refused.value.hint)
    fill_in_patients(go(tmp_path, replace=False, images=("one/*.png", "two/*.png"), labels="seg/*.png"))
    made = go(tmp_path)
    assert len(made.plan.data.channels) == 2
    assert patients(made) == {"patient0", "patient1", "patient2"}


def test_other_names_leave_the_table_which_is_kept(cases: Path) -> None:
    fill_in_patients(go(cases, replace=False, images=("t1", "flair")))
    made = go(cases, images=("flair",))
    assert (made.plan.data.channels, patients(made)) == (["flair"], {f"p{number}" for number in range(1, 7)})
    (kept,) = made.cases_path.parent.glob("*.cases.earlier-*.csv")
    assert "patient2" in kept.read_text()
    assert any(str(kept) in note for note in made.notes)


def test_channels_in_another_order_in_the_table_are_refused(cases: Path) -> None:
    made = go(cases, replace=False, images=("t1", "flair"))
    text = made.cases_path.read_text().replace("p3/p3_t1.png;p3/p3_flair.png", "p3/p3_flair.png;p3/p3_t1.png")
    made.cases_path.write_text(text)
    with pytest.raises(DataError, match=r"lists the files of p3 in another order than the channels t1, flair"):
        go(cases)


def test_cases_that_the_table_lacks_are_named(cases: Path) -> None:
    made = go(cases, replace=False, images=("t1", "flair"))
    made.cases_path.write_text("".join(row for row in made.cases_path.open() if not row.startswith("p6,")))
    notes = go(cases).notes
    assert any("it lacks 1 case of the folder: p6; delete it" in note for note in notes)


@pytest.mark.parametrize(("kind", "fails"), [("seg", False), ("t1", True)])
def test_a_case_that_is_left_out_is_named_and_tried_again(cases: Path, kind: str, fails: bool) -> None:
    """A scan without a label is a note, and one without a channel a failure."""
    (cases / "data" / "p6" / f"p6_{kind}.png").rename(cases / "away.png")
    made = go(cases, replace=False, images=("t1", "flair"))
    assert made.plan.data.left_out == ["p6"]
    assert list(made.failed) == ["p6"] * fails
    assert any(note.startswith("p6: ") for note in made.notes) is not fails
    (cases / "away.png").rename(cases / "data" / "p6" / f"p6_{kind}.png")
    made = go(cases)
    assert (made.plan.data.cases, made.failed) == (6, {})


def test_a_table_elsewhere_has_to_be_named_again(cases: Path) -> None:
    rows = [f"p{n},data/p{n}/p{n}_flair.png,data/p{n}/p{n}_seg.png" for n in range(1, 7)]
    (cases / "list.csv").write_text("\n".join(["id,flair,label", *rows]) + "\n")
    go(cases, replace=False, cases=cases / "list.csv")
    with pytest.raises(DataError, match=r"were named by the table list\.csv, and there is no such file in .*data"):
        go(cases)
    rows = ["id,patient,flair,label", *(row.replace(",", f",q{n // 2},", 1) for n, row in enumerate(rows))]
    (cases / "list.csv").write_text("\n".join(rows) + "\n")
    made = go(cases, cases=cases / "list.csv")
    assert made.plan.data.channels == ["flair"]
    assert patients(made) == {"q0", "q1", "q2"}, "a table that is named is read as it is now"


def test_a_split_that_is_found_later_holds_for_the_table(tmp_path: Path) -> None:
    for number in range(1, 9):
        draw(tmp_path / "data" / "images" / f"p{number}.png", 20)
        draw_label(tmp_path / "data" / "labels" / f"p{number}.png")
    assert go(tmp_path, replace=False).plan.data.cases == 8
    (tmp_path / "data" / "train.txt").write_text("p1\np2\np3\np4\n")
    (tmp_path / "data" / "test.txt").write_text("p5\np6\n")
    for _ in range(2):
        made = go(tmp_path)
        assert [row.split(",")[0] for row in made.cases_path.read_text().splitlines()[1:]] == ["p1", "p2", "p3", "p4"]
        assert not any("it lacks" in note for note in made.notes), "test cases are not lacking"
