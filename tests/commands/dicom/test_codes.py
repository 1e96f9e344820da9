"""The table of codes: found by words, and written as a file that `--codes` reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.commands.dicom.codes import find_codes, write_codes
from medseg.core.errors import DataError, PlanError
from medseg.delivery.dicom.codes import SIDES, codes_of, look_up, read_codes


def test_every_row_comes_back_from_the_file_with_the_codes_of_its_name(tmp_path: Path) -> None:
    entries = find_codes()
    rows = write_codes(tmp_path / "codes.csv", entries)
    codings = read_codes(str(tmp_path / "codes.csv"))
    assert len(codings) == rows == len(entries) + len(SIDES) * sum(bool(entry.sides) for entry in entries)
    assert all(codings[name] == look_up(name) for name in codings)
    assert codes_of([*codings], {}, codings) == codings


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("my rows")
    with pytest.raises(DataError, match=r"codes\.csv is there already"):
        write_codes(tmp_path / "codes.csv", find_codes("kidney"))
    assert (tmp_path / "codes.csv").read_text() == "my rows"


@pytest.mark.parametrize("text", ["kidney", "Kidney", "left kidney", "kidney_right"])
def test_words_are_looked_for_in_all_names(text: str) -> None:
    (entry, *_) = found = find_codes(text)
    assert entry.names[0] == "kidney"
    assert all(any("kidney" in name.split() for name in other.names) for other in found)
    assert {*entry.sided()} == {"kidney", "left kidney", "right kidney"}


@pytest.mark.parametrize("text", ["", "???", "\u809d", "left"])
def test_a_text_without_a_word_to_look_for_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="no structure that is called"):
        find_codes(text)


def test_what_is_not_there_is_named_with_what_is_near() -> None:
    with pytest.raises(PlanError, match="no structure that is called kindey") as caught:
        find_codes("kindey")
    assert "Did you mean kidney" in caught.value.hint
    with pytest.raises(PlanError) as caught:
        find_codes("xyzzy")
    assert caught.value.hint.startswith("`medseg codes` lists all")
