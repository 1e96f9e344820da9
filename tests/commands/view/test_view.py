"""`medseg view`: which files it shows, what their values are called, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_sets import write_study

import medseg
from medseg.core.errors import DataError
from medseg.core.files import write_json
from medseg.core.labels import Labels
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume
from medseg.io.images import write_label

LABEL = np.zeros((4, 5, 6), np.uint8)
LABEL[1:3, 2, 3] = 1


@pytest.fixture
def files(tmp_path: Path, save_nifti: Callable[..., Path]) -> tuple[Path, Path]:
    scan = save_nifti(tmp_path / "scans/a.nii.gz", np.arange(120, dtype=np.float32).reshape(4, 5, 6))
    return scan, save_nifti(tmp_path / "out/a.nii.gz", LABEL)


def test_names_come_from_the_file_beside_the_answer(files: tuple[Path, Path], tmp_path: Path) -> None:
    scan, answer = files
    page = tmp_path / "page.html"
    result = medseg.view(scan, [answer], medseg.ViewOptions(output=page))
    assert (result.page, result.structures) == (page, ("value 1",))
    labels = Labels(structures={"liver": 1})
    write_json(answer.parent / "labels.json", {"labels": labels.model_dump(mode="json")})
    assert medseg.view(scan, [answer], medseg.ViewOptions(output=page)).structures == ("liver",)
    options = medseg.ViewOptions(output=page, structures=["ball=1"], reference=answer)
    assert medseg.view(scan, [answer], options).structures == ("ball",)
    text = page.read_text()
    assert text.count('<section class="panel') == 2
    assert "0.002 ml" in text


def test_files_of_one_name_are_all_shown_and_contradictions_refused(
    files: tuple[Path, Path], tmp_path: Path, save_nifti: Callable[..., Path]
) -> None:
    scan, answer = files
    other = save_nifti(tmp_path / "other/a.nii.gz", LABEL)
    twin = save_nifti(tmp_path / "out/a.nii", LABEL)
    page = tmp_path / "page.html"
    medseg.view(scan, [answer, twin, other], medseg.ViewOptions(output=page))
    assert page.read_text().count('<section class="panel') == 3
    for path, name in ((answer, "liver"), (other, "spleen")):
        labels = Labels(structures={name: 1})
        write_json(path.parent / "labels.json", {"labels": labels.model_dump(mode="json")})
    with pytest.raises(DataError, match=r"The value 1 is liver in .*, and spleen in"):
        medseg.view(scan, [answer, other], medseg.ViewOptions(output=page))


def test_a_page_replaces_no_input(files: tuple[Path, Path]) -> None:
    before = files[0].read_bytes()
    with pytest.raises(DataError, match="would replace it"):
        medseg.view(files[0], [files[1]], medseg.ViewOptions(output=files[0]))
    assert files[0].read_bytes() == before


def test_a_page_replaces_no_file_of_others(files: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("notes.html", "picture.png"):
        page = tmp_path / name
        page.write_text("of somebody else")
        with pytest.raises(DataError, match=f"{name} is there already, and is no page of medseg's"):
            medseg.view(files[0], [files[1]], medseg.ViewOptions(output=page))
        assert page.read_text() == "of somebody else"
    own = medseg.ViewOptions(output=tmp_path / "own.html")
    assert medseg.view(files[0], [], own).page == medseg.view(files[0], [files[1]], own).page


def test_a_reference_is_read_as_the_answers_labels_file_says(
    files: tuple[Path, Path], tmp_path: Path, save_nifti: Callable[..., Path]
) -> None:
    """The answer has 1 where the reference, drawn with 7 for the same structure, has 7."""
    scan, answer = files
    reference = save_nifti(tmp_path / "drawn/a.nii.gz", LABEL * np.uint8(7))
    options = medseg.ViewOptions(output=tmp_path / "page.html", reference=reference)
    labels = {"labels": Labels(structures={"liver": 1}).model_dump(mode="json")}
    write_json(answer.parent / "labels.json", labels)
    assert medseg.view(scan, [answer], options).structures == ("liver", "value 7")
    write_json(answer.parent / "labels.json", {**labels, "reading": {"map": {"7": 1}}})
    result = medseg.view(scan, [answer], options)
    assert result.structures == ("liver",)
    assert f"{reference} is read as labels.json beside the answer says" in result.notes[0]


def test_of_a_scan_in_4d_the_volume_that_was_answered_is_shown(
    files: tuple[Path, Path], tmp_path: Path, save_nifti: Callable[..., Path]
) -> None:
    """The second volume of two is the one that was segmented."""
    scan, answer = files
    volumes = np.stack([np.zeros((4, 5, 6)), np.arange(120).reshape(4, 5, 6)]).astype(np.float32)
    several = save_nifti(tmp_path / "time/a.nii.gz", volumes)
    labels = {"labels": Labels(structures={"liver": 1}).model_dump(mode="json"), "reading": {"frame": 1}}
    write_json(answer.parent / "labels.json", labels)

    def shown(path: Path) -> bytes:
        page = medseg.view(path, answer, medseg.ViewOptions(output=tmp_path / "page.html")).page
        content = page.read_bytes()
        page.unlink()
        return content

    assert shown(several) == shown(scan)


def test_paths_may_be_texts_and_one_answer_needs_no_list(files: tuple[Path, Path], tmp_path: Path) -> None:
    scan, answer = map(str, files)
    page = str(tmp_path / "page.html")
    assert medseg.view(scan, answer, medseg.ViewOptions(output=page)).page == Path(page)  # type: ignore[arg-type]


def test_a_folder_of_answers_stands_for_the_one_to_the_scan(
    files: tuple[Path, Path], tmp_path: Path, save_nifti: Callable[..., Path]
) -> None:
    scan, answer = files
    write_json(answer.parent / "labels.json", {"labels": Labels(structures={"liver": 1}).model_dump(mode="json")})
    save_nifti(answer.parent / "b.nii.gz", LABEL)
    options = medseg.ViewOptions(output=tmp_path / "page.html")
    assert medseg.view(scan, answer.parent, options).structures == ("liver",)
    answer.unlink()
    with pytest.raises(DataError, match="is a folder of answers, and holds none of that name"):
        medseg.view(scan, answer.parent, options)


def test_the_answer_to_a_series_is_the_one_that_was_made_from_it(
    tmp_path: Path,
) -> None:
    study = write_study(tmp_path / "study")
    [series] = find_series(study).series
    image, answer = read_volume(series).image, tmp_path / "out/study.nii.gz"
    write_label(answer, image.with_array((image.array > 0).astype(np.uint8)))
    write_json(answer.parent / "labels.json", {"labels": Labels(structures={"liver": 1}).model_dump(mode="json")})
    options = medseg.ViewOptions(output=tmp_path / "page.html")
    with pytest.raises(DataError, match="holds none of that name"):
        medseg.view(study, answer.parent, options)
    entry = {"case": "study", "scan": [], "files": {answer.name: ""}, "series": [series.key]}
    (answer.parent / "predict.jsonl").write_text(json.dumps(entry))
    assert medseg.view(study, answer.parent, options).structures == ("liver",)


def test_a_map_of_probabilities_is_no_label_map(
    files: tuple[Path, Path], tmp_path: Path, save_nifti: Callable[..., Path]
) -> None:
    soft = save_nifti(tmp_path / "soft.nii.gz", np.full(LABEL.shape, 0.5, np.float32))
    with pytest.raises(DataError, match="not whole numbers") as error:
        medseg.view(files[0], soft)
    assert error.value.hint == f"A map of probabilities can be shown as a scan: medseg view {soft}"


def test_a_structure_of_value_0_is_shown(files: tuple[Path, Path], tmp_path: Path) -> None:
    options = medseg.ViewOptions(output=tmp_path / "page.html", structures=["sky=0", "road=1"])
    assert medseg.view(files[0], [files[1]], options).structures == ("sky", "road")


def test_a_label_of_another_grid_is_refused(
    files: tuple[Path, Path], tmp_path: Path, save_nifti: Callable[..., Path]
) -> None:
    shifted = np.eye(4)
    shifted[0, 3] = 3
    other = save_nifti(tmp_path / "shifted.nii.gz", LABEL, shifted)
    with pytest.raises(DataError, match="does not lie on the grid of the scan"):
        medseg.view(files[0], [other], medseg.ViewOptions(output=tmp_path / "page.html"))
    assert not (tmp_path / "page.html").exists()


def test_one_channel_of_several_is_shown_and_said(tmp_path: Path) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.int16), np.eye(4)), tmp_path / "two.nii.gz")
    result = medseg.view(tmp_path / "two.nii.gz", options=medseg.ViewOptions(output=tmp_path / "p.html", channel=1))
    assert "channel 1 of 2" in result.notes[0]
    with pytest.raises(DataError, match="has no channel 2"):
        medseg.view(tmp_path / "two.nii.gz", options=medseg.ViewOptions(channel=2))


def test_the_command(files: tuple[Path, Path], tmp_path: Path, command_line: Callable) -> None:
    done = command_line("view", *files, "--output", tmp_path / "page.html", "--json")
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert record["structures"] == ["value 1"]
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize(("masks", "reference"), [("a/{}.nii.gz", "a"), ("{}/a.nii.gz", "*/a.nii.gz")])
def test_masks_of_each_structure_are_shown_by_name(
    files: tuple[Path, Path], tmp_path: Path, save_nifti: Callable[..., Path], masks: str, reference: str
) -> None:
    for name in ("liver", "spleen"):
        save_nifti(tmp_path / "masks" / masks.format(name), np.roll(LABEL, len(name), axis=2))
    options = medseg.ViewOptions(output=tmp_path / "page.html", reference=tmp_path / "masks" / reference)
    assert medseg.view(files[0], options=options).structures == ("liver", "spleen")
