"""selection.yaml: what is written is read, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.confidence.calibration import BeforeAndAfter, Calibration
from medseg.core.errors import ModelError
from medseg.core.labels import Labels
from medseg.selection.file import check_selection, dump_selection, parse_selection, read_selection, write_selection
from medseg.selection.record import Averaging, Gain, Member, Selection, Step, Threshold

GAIN = Gain(difference=0.01, low=0.002, high=0.03, structures={"one": 0.01}, cases=20)


def selection() -> Selection:
    return Selection(
        plan="toy",
        medseg="0",
        made="2026-11-29T08:00:00+00:00",
        members=[Member(configuration="2d", folds=["0", "1"], records={"0": "a" * 64})],
        postprocessing=[Step(operation="minimum_size", structures=["one"], size=0.5, unit="ml", evidence=GAIN)],
        thresholds={"one": Threshold(value=0.4)},
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "selection.yaml"
    assert read_selection(path) is None
    write_selection(selection(), path)
    assert read_selection(path) == selection()
    assert path.read_text().startswith("# What `medseg predict` does")


def test_what_is_done_is_said_in_words() -> None:
    assert selection().title == "2d (folds 0, 1)"
    assert selection().describe() == ["components of one of at least 0.5 ml", "one above a probability of 0.4"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("plan: toy", "plan: toy\nfoo: 1", "foo: extra inputs are not permitted"),
        ("schema_version: 1", "schema_version: 99", "schema_version 99; this medseg reads 1"),
        ("configuration: 2d", "configuration: ../x", "cannot be the name of a configuration"),
        ("folds: ['0', '1']", "folds: ['0', '0']", "a fold is named twice"),
        ("unit: ml", "unit: litres", "unit"),
        ("size: 0.5", "size: null", "size and unit go with minimum_size"),
        ("plan: toy", "plan: &a [b]\nother: *a", "repeats parts by reference"),
        ("plan: toy", "plan: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, message: str) -> None:
    text = dump_selection(selection())
    assert old in text
    with pytest.raises(ModelError, match=r"x\.yaml") as error:
        parse_selection(text.replace(old, new).encode(), "x.yaml")
    assert message in str(error.value)


def test_structures_must_be_the_models() -> None:
    regions = Labels(structures={"one": [1]}, activation="sigmoid", region_values=[1])
    check_selection(selection(), regions, "x.yaml")
    with pytest.raises(ModelError, match="names the structure 'one'; the model has two"):
        check_selection(selection(), Labels(structures={"two": 1}), "x.yaml")
    with pytest.raises(ModelError, match="thresholds, which are for overlapping regions"):
        check_selection(selection(), Labels(structures={"one": 1}), "x.yaml")


def test_what_cannot_be_done_to_answers_is_refused() -> None:
    chosen = selection().model_copy(update={"thresholds": {}})
    chosen = chosen.model_copy(update={"postprocessing": [Step(operation="fill_holes", structures=["one"])]})
    everywhere = Labels(structures={"zero": 0, "one": 1}, background=None)
    with pytest.raises(ModelError, match=r"holes of one filled\), and the model has no background"):
        check_selection(chosen, everywhere, "x.yaml")
    sided = Step(operation="position", structures=["one"], range=[0, 0.5])
    chosen = chosen.model_copy(update={"postprocessing": [sided]})
    check_selection(chosen, Labels(structures={"one": 1}), "x.yaml")
    with pytest.raises(ModelError, match="goes by left and right"):
        check_selection(chosen, Labels(structures={"one": 1}), "x.yaml", sides_known=False)


def test_temperatures_must_be_as_many_as_the_model_needs() -> None:
    same = BeforeAndAfter(before=0.1, after=0.1)
    calibration = Calibration(
        temperatures=[1.5, 2.0],
        cases=3,
        voxels=9,
        nll=same,
        ece={},
        ece_all=same,
        diagram_before=[],
        diagram_after=[],
    )
    chosen = selection().model_copy(update={"postprocessing": [], "thresholds": {}, "calibration": calibration})
    assert parse_selection(dump_selection(chosen).encode(), "x.yaml") == chosen
    with pytest.raises(ModelError, match="has 2 temperatures and biases for 0 outputs; the model needs one"):
        check_selection(chosen, Labels(structures={"one": 1}), "x.yaml")
    regions = Labels(structures={"one": [1, 2], "two": [2]}, activation="sigmoid", region_values=[1, 2])
    check_selection(chosen, regions, "x.yaml")


def test_what_files_had_for_all_members_is_that_of_the_first() -> None:
    averaging = Averaging(step_fraction=0.5, gaussian_sigma_fraction=0.125, mirror=True, skip_empty_tiles=False)
    text = dump_selection(selection())
    before = (
        text + "averaging: {step_fraction: 0.5, gaussian_sigma_fraction: 0.125, mirror: true, skip_empty_tiles: false}"
    )
    [member] = parse_selection(before.encode(), "x.yaml").members
    assert member == selection().members[0].model_copy(update={"averaging": averaging})
    for damaged in ("members: []", "members: [3]", "members: 3"):
        lines = [line for line in before.splitlines() if not line.startswith(("members", "- ", "  "))]
        with pytest.raises(ModelError, match=r"x\.yaml is not a valid selection: members"):
            parse_selection("\n".join([*lines, damaged]).encode(), "x.yaml")
