"""`medseg series`: tables and records of what a folder holds, and exit codes."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pydicom")

from dicom.builders import ramp, write_series

from medseg.commands.data.series import series, series_record
from medseg.core.errors import DataError


@pytest.fixture
def study(tmp_path):
    write_series(tmp_path / "a", series="a", SeriesNumber=2, SeriesDescription="T1 [b]tra")
    write_series(tmp_path / "b", series="b", SeriesNumber=3, move=lambda k: (0, 0, 3 * k + 3 * (k > 2)))
    write_series(tmp_path / "s", ramp(1), series="s", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    return tmp_path


def test_what_it_finds_and_its_exit_code(study, tmp_path):
    result = series(study)
    assert [one.number for one in result.series] == [2, 3]
    assert result.exit_code == 1
    assert series(study, "2").exit_code == 0
    assert series(study, "9").exit_code == 2
    path = result.series[0].path
    assert series(path).series == series(path, "2").series == series(str(path), "Modality=CT").series
    assert series(path).series == (result.series[0],)
    assert series(path, "3").series == ()
    with pytest.raises(DataError, match="not a condition"):
        series(study, "what")


def test_a_record_holds_no_identifier(study):
    result = series(study)
    record = series_record(result.series[1])
    assert record["shape_zyx"] == [5, 4, 6]
    assert record["problems"][0]["option"] == "allow_gaps"
    told = json.dumps(record)
    assert all(secret not in told for secret in ("Doe", "SECRET", result.series[1].uid))


def test_the_table(study, command_line):
    done = command_line("series", study)
    assert done.returncode == 1, done.stderr
    assert "T1 [b]tra" in done.stdout
    assert "missing slices" in done.stdout
    assert "--allow-gaps" in done.stdout
    assert "left out: 1 localizer" in done.stdout
    assert all(secret not in done.stdout + done.stderr for secret in ("Doe", "SECRET"))


def test_records(study, command_line):
    done = command_line("series", study, "--series", "SeriesNumber=2", "--json")
    assert done.returncode == 0
    records = [json.loads(line) for line in done.stdout.splitlines()]
    records = [record for record in records if record["kind"] != "progress"]
    assert [record["kind"] for record in records] == ["series", "left_out", "result"]
    assert records[0]["key"] == series(study).series[0].key
    assert records[-1]["left_out"] == {"localizer": 1}


def test_nothing_there(tmp_path, command_line):
    (tmp_path / "notes.txt").write_text("hello")
    done = command_line("series", tmp_path)
    assert done.returncode == 2
    assert "holds no series" in done.stdout
    assert command_line("series", tmp_path / "absent").returncode == 2
