"""manifest.json: what its parts say, and what they leave out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from builders import make_image

from medseg.core.errors import DataError
from medseg.core.image import Image, Orientation
from medseg.delivery.provenance import manifest
from medseg.preprocessing.volume import Geometry


def test_a_grid_is_told_by_shape_spacing_letters_and_affine() -> None:
    affine = np.array([[0, -2.0, 0, 5], [-1.5, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    grid = manifest.describe_grid(Image(np.zeros((1, 4, 3, 2)), affine))
    assert grid["shape_zyx"] == [4, 3, 2]
    assert grid["spacing_mm"] == [3.0, 2.0, 1.5]
    assert grid["orientation"] == "PLS", "x runs to P, y to L, z to S"
    assert grid["affine"][0] == [0.0, -2.0, 0.0, 5.0]
    pixels = Image(np.zeros((1, 1, 3, 2)), np.eye(4), spacing_known=False)
    assert "spacing_pixels" in manifest.describe_grid(pixels)


def test_resampling_is_told_by_the_box_and_the_grid_of_the_network() -> None:
    box = (slice(1, 11), slice(0, 20), slice(4, 12))
    geometry = Geometry(Orientation(), (0, 1, 2), (12, 20, 12), box, (2.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    description = manifest.describe_resampling(geometry)
    assert description == {
        "box": [[1, 11], [0, 20], [4, 12]],
        "spacing": [1.0, 1.0, 1.0],
        "shape": [20, 20, 8],
        "resampled": True,
    }


def test_hashes_are_sha256_and_names_lie_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_bytes(b"abc")
    listed = manifest.listed(tmp_path, [tmp_path / "a" / "b.txt", tmp_path / "gone.txt"])
    assert listed == [{"file": "a/b.txt", "sha256": hashlib.sha256(b"abc").hexdigest()}]
    assert manifest.relative(tmp_path / "a" / "b.txt", tmp_path / "other") == "b.txt", "no folders of elsewhere"


def test_uids_and_paths_are_taken_out_of_texts() -> None:
    folder = Path("/home/doe/scans")
    said = {
        "problem": "/home/doe/scans/a.nii.gz: series 1.2.840.113619.2.55.3 of /home/doe/scans",
        "versions": ["1.2.3", 1.5, None],
        "table": Path("/home/doe/table.csv"),
        "file": "1.2.840.113619.2.55.3.nii.gz",
    }
    assert manifest.without_uids(said, [folder]) == {
        "problem": "a.nii.gz: series (UID) of scans",
        "versions": ["1.2.3", 1.5, None],
        "table": "table.csv",
        "file": "1.2.840.113619.2.55.3.nii.gz",
    }


def test_each_command_has_its_entry_and_replaces_only_its_own(tmp_path: Path) -> None:
    manifest.write_entry(tmp_path, "predict", {"run": 1})
    manifest.write_entry(tmp_path, "evaluate", {"values": [1, 2, [3, 4]], "text": "[\n 1]"})
    path = manifest.write_entry(tmp_path, "predict", {"run": 2})
    assert manifest.read_entries(tmp_path) == {
        "predict": {"run": 2},
        "evaluate": {"values": [1, 2, [3, 4]], "text": "[\n 1]"},
    }
    content = json.loads(path.read_text())
    assert content["schema_version"] == 1
    assert "research use" in content["statement"]
    assert "[3, 4]" in path.read_text(), "lists of numbers stand on one line"
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_a_page_made_anew_is_noted(tmp_path: Path) -> None:
    for name in ("report.html", "weights", "mine.txt", "report_cases/a.html", "report_cases/b.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    report, cases = tmp_path / "report.html", tmp_path / "report_cases"
    noted = manifest.listed(tmp_path, [report, *cases.iterdir(), tmp_path / "weights"])
    manifest.write_entry(tmp_path, "train", {"files": noted})
    before = (tmp_path / manifest.NAME).read_bytes()
    manifest.list_again(tmp_path, tmp_path / "mine.txt", cases)
    assert (tmp_path / manifest.NAME).read_bytes() == before
    report.write_text("anew")
    (cases / "a.html").rename(cases / "c.html")
    manifest.list_again(tmp_path, report, cases)
    files = {file["file"]: file["sha256"] for file in manifest.read_entries(tmp_path)["train"]["files"]}
    assert [*files] == ["report.html", "report_cases/b.html", "report_cases/c.html", "weights"]
    assert files["report.html"] == hashlib.sha256(b"anew").hexdigest()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema_version": 2, "commands": {}}', '{"schema_version": 1}'])
def test_what_is_no_manifest_is_refused_and_then_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / manifest.NAME).write_text(text)
    with pytest.raises(DataError, match="not a manifest of version 1"):
        manifest.read_entries(tmp_path)
    manifest.write_entry(tmp_path, "predict", {})
    assert manifest.read_entries(tmp_path) == {"predict": {}}


def test_no_manifest_says_nothing(tmp_path: Path) -> None:
    assert manifest.read_entries(tmp_path) == {}


def test_software_names_versions_and_at_most_a_commit() -> None:
    description = manifest.software()
    assert description["package"] == "medseg"
    assert description["torch"].count(".") >= 2
    assert description["git"] is None or len(description["git"].removesuffix("-dirty")) == 40


def test_an_image_without_direction_has_letters_all_the_same() -> None:
    assert manifest.describe_grid(make_image(np.zeros((2, 2, 2))))["orientation"] == "RAS"


def test_a_relative_folder_is_not_taken_out_of_the_middle_of_another_path(tmp_path: Path) -> None:
    inside, said = tmp_path / "in", "gap of {0}/gap; begin/end; {1}; in/gap"
    text = said.format(inside, inside)
    assert manifest.without_uids(text, [inside, Path("in")]) == "gap of gap; begin/end; in; gap"
