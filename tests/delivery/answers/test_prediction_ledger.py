"""The record of a folder of answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME, PredictionLedger, finished_entry

MADE_BY = {"model": "abc", "inference.mirror": True}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "a_0000.nii.gz").write_bytes(b"scan")
    return Case("a", "a", (tmp_path / "a_0000.nii.gz",))


def answered(folder: Path, case: Case) -> Path:
    """Answer a case, and stop before the end."""
    folder.mkdir(exist_ok=True)
    answer = folder / f"{case.id}.nii.gz"
    with PredictionLedger(folder, MADE_BY, False, [answer]) as ledger:
        answer.write_bytes(b"answer")
        ledger.note(finished_entry(ledger.folder, case, [answer], {"unit": "ml"}))
    return answer


def test_an_answer_is_held_until_it_or_the_scan_changes(tmp_path: Path, case: Case) -> None:
    answer = answered(tmp_path / "out", case)
    with PredictionLedger(tmp_path / "out", MADE_BY, True, [answer]) as ledger:
        assert ledger.holds(case)
        assert ledger.entries["a"]["unit"] == "ml"
        assert not ledger.holds(Case("b", "b", case.channels))
        answer.write_bytes(b"answeR")
        assert not ledger.holds(case)
        answer.write_bytes(b"answer")
        case.channels[0].write_bytes(b"other scan")
        assert not ledger.holds(case)
        case.channels[0].unlink()
        assert not ledger.holds(case)


def test_a_corrected_answer_is_known_until_it_is_made_again(tmp_path: Path, case: Case) -> None:
    answer = answered(tmp_path / "out", case)
    for keep in (True, False):
        with PredictionLedger(tmp_path / "out", MADE_BY, keep, [answer]) as ledger:
            assert ledger.of_others({"a": [answer, answer.with_name("b.nii.gz")]}) == []
            answer.write_bytes(b"corrected" if keep else b"corrected again")
            assert ledger.of_others({"a": [answer]}) == [answer]
            ledger.note(finished_entry(ledger.folder, case, [answer], {}))
            assert ledger.of_others({"a": [answer]}) == []


def stop(folder: Path, *begun: Case, keep: bool, killed: bool, failed: Sequence[Case] = ()) -> None:
    """Begin cases, and stop before any is answered: in order, or as a kill leaves the ledger."""
    with PredictionLedger(folder, MADE_BY, keep, []) as ledger, suppress(KeyboardInterrupt), ledger.answering(begun):
        for case in failed:
            ledger.note_failed(case)
        left = ledger.path.read_bytes()
        raise KeyboardInterrupt
    if killed:
        ledger.path.write_bytes(left)


@pytest.mark.parametrize("keep", [True, False])
def test_a_file_that_no_run_wrote_is_told_from_what_a_killed_run_left(tmp_path: Path, case: Case, keep: bool) -> None:
    answer = answered(tmp_path / "out", case)
    drawn, half_done = (answer.with_name(f"{name}.nii.gz") for name in ("drawn", "half_done"))
    stop(answer.parent, Case("half_done", "half_done", case.channels), keep=True, killed=True)
    half_done.write_bytes(b"answer")
    drawn.write_bytes(b"label")
    files = {name: [answer.with_name(f"{name}.nii.gz")] for name in ("a", "drawn", "half_done", "absent")}
    with PredictionLedger(answer.parent, MADE_BY, keep, [path for paths in files.values() for path in paths]) as ledger:
        assert ledger.of_others(files) == [drawn]
        ledger.close([case])
    assert "begun" not in (answer.parent / LEDGER_NAME).read_text()


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("killed", [True, False])
def test_answers_that_a_run_was_to_replace_are_still_known(
    tmp_path: Path, case: Case, keep: bool, killed: bool
) -> None:
    """However that run ended, and also if a second one ended like it."""
    answer = answered(tmp_path / "out", case)
    for _ in range(2):
        stop(answer.parent, case, keep=False, killed=killed)
    with PredictionLedger(answer.parent, MADE_BY, keep, [answer]) as ledger:
        assert ledger.of_others({"a": [answer]}) == []
        assert ledger.replaced == (() if keep else ("a",))
        answer.write_bytes(b"corrected")
        assert ledger.of_others({"a": [answer]}) == [answer]


@pytest.mark.parametrize("killed", [True, False])
def test_a_label_for_a_case_that_has_no_answer_is_not_taken_for_what_was_left(
    tmp_path: Path, case: Case, killed: bool
) -> None:
    answer, other = answered(tmp_path / "out", case), Case("b", "b", case.channels)
    stop(answer.parent, other, keep=True, killed=killed, failed=[other] if killed else [])
    drawn = answer.with_name("b.nii.gz")
    drawn.write_bytes(b"label")
    with PredictionLedger(answer.parent, MADE_BY, True, [drawn]) as ledger:
        assert ledger.of_others({"b": [drawn]}) == [drawn]


def test_a_line_that_was_cut_short_costs_only_its_case(tmp_path: Path, case: Case) -> None:
    answer = answered(tmp_path / "out", case)
    path = tmp_path / "out" / LEDGER_NAME
    path.write_text(path.read_text() + '{"case": "b", "fi')
    with PredictionLedger(tmp_path / "out", MADE_BY, True, [answer]) as ledger:
        assert list(ledger.entries) == ["a"]
        ledger.note(finished_entry(ledger.folder, Case("c", "c", case.channels), [answer], {}))
    with PredictionLedger(tmp_path / "out", MADE_BY, True, [answer]) as ledger:
        assert list(ledger.entries) == ["a", "c"]


@pytest.mark.parametrize("text", ["", "\0\0\0", "[1]\n"])
def test_a_record_that_says_nothing_is_none(tmp_path: Path, case: Case, text: str) -> None:
    answer = answered(tmp_path / "out", case)
    (tmp_path / "out" / LEDGER_NAME).write_text(text)
    with pytest.raises(DataError, match="no record"):
        PredictionLedger(tmp_path / "out", MADE_BY, True, [answer])
    answer.unlink()
    with PredictionLedger(tmp_path / "out", MADE_BY, True, [answer]) as ledger:
        assert not ledger.entries


def test_the_record_ends_in_the_order_of_the_cases(tmp_path: Path, case: Case) -> None:
    answer = tmp_path / "out" / "x.nii.gz"
    answer.parent.mkdir()
    cases = [Case(name, name, case.channels) for name in "cab"]
    with PredictionLedger(answer.parent, MADE_BY, False, [answer]) as ledger:
        answer.write_bytes(b"answer")
        for one in reversed(cases[1:]):
            ledger.note(finished_entry(ledger.folder, one, [answer], {}))
        ledger.close(cases)
    lines = [json.loads(line) for line in (answer.parent / LEDGER_NAME).read_text().splitlines()]
    assert lines[0] == MADE_BY
    assert [line["case"] for line in lines[1:]] == ["a", "b"]


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with PredictionLedger(tmp_path, MADE_BY, False, []), pytest.raises(DataError, match="Another `medseg predict`"):
        PredictionLedger(tmp_path, MADE_BY, True, [])
    PredictionLedger(tmp_path, MADE_BY, True, []).__exit__()


@pytest.mark.parametrize(
    "change", [{"case": []}, {"files": []}, {"files": {}}, {"scan": None, "files": None}], ids=lambda one: str(one)
)
def test_a_line_that_is_no_entry_is_passed_over(tmp_path: Path, case: Case, change: dict[str, object]) -> None:
    answer = answered(tmp_path / "out", case)
    path = tmp_path / "out" / LEDGER_NAME
    head, entry = path.read_text().splitlines()
    path.write_text(f"{head}\n{json.dumps(json.loads(entry) | change)}\n")
    with PredictionLedger(tmp_path / "out", MADE_BY, True, [answer]) as ledger:
        assert not ledger.holds(case)
