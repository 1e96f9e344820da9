"""Where a file is expected, the folder of a study stands for its only series."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sets import write_study

from medseg.commands.data.info import info
from medseg.core.errors import DataError
from medseg.io.scan_path import scan_path


def test_a_study_with_one_series_is_that_series(tmp_path: Path) -> None:
    study = write_study(tmp_path / "my study")
    path = scan_path(tmp_path / "my study")
    assert path.name.startswith("my study#")
    assert scan_path(path) == path
    assert info(study).path == path
    assert info(path).shape_zyx == info(study).shape_zyx


def test_of_several_series_each_is_listed_with_its_key_and_the_hint_names_one(tmp_path: Path) -> None:
    for number in (4, 5):
        write_study(tmp_path / "two" / str(number), "two", SeriesInstanceUID=f"1.2.{number}", SeriesNumber=number)
    with pytest.raises(DataError, match="holds 2 series") as error:
        scan_path(tmp_path / "two")
    named = Path(str(error.value).rsplit("'", 2)[1])
    assert str(error.value).count(named.name.removeprefix("two#")) == 2
    assert info(named).format == "DICOM"


def test_other_folders_are_refused_with_what_to_open_and_files_stay(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="medseg series FOLDER"):
        scan_path(tmp_path)
    (tmp_path / "index.html").touch()
    with pytest.raises(DataError, match=r"Open .*index\.html in a browser"):
        scan_path(tmp_path)
    for name in ("scan.nii.gz", "lost.zip"):
        assert scan_path(tmp_path / name) == tmp_path / name
