"""Progress where there is no terminal: plain lines, with the share of a unit under way, and notes once."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from medseg.cli.output import display
from medseg.core.progress import Progress


def test_the_share_of_a_scan_under_way_counts_for_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 110.0, 130.0, 140.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(display, "_PLAIN_SECONDS", 0.0)
    with display.progress_display() as show:
        show(Progress("predict", 0, 2))
        show(Progress("predict", 0, 2, {"share": 0.25, "note": "memory is short"}))
        show(Progress("predict", 1, 2, {"share": 0.5, "note": "memory is short"}))
        show(Progress("predict", 2, 2))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "note: memory is short",
        "Segmenting: 0/2 in 10 s, 1:10 left",
        "Segmenting: 1/2 in 30 s, 10 s left",
        "Segmenting: 2/2 in 40 s",
    ]


def test_the_time_left_of_a_resumed_run_is_judged_by_what_this_process_did(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 110.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(display, "_PLAIN_SECONDS", 0.0)
    with display.progress_display() as show:
        show(Progress("train", 900, 1000))
        show(Progress("train", 910, 1000))
    assert capsys.readouterr().out.splitlines() == ["Training: 910/1000 in 10 s, 1:30 left"]


def test_names_in_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with display.progress_display() as show:
        show(Progress("train", 10, 10, {"x [rot]": 0.5}))
    assert capsys.readouterr().out.endswith("x [rot] 0.500\n")


@pytest.mark.parametrize("width", [70, 80, 100, 120, 170])
@pytest.mark.parametrize("total", [9, 250_000])
def test_a_bar_keeps_name_count_and_times_in_any_terminal(
    width: int, total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None, highlight=False)
    monkeypatch.setattr(display, "console", console)
    scores = {"loss": -0.482, "steps_per_second": 3.25, "Anterior": 0.8, "Posterior part of it": 0.9}
    with display.progress_display() as show:
        show(Progress("train", 7, total, scores))
    line = screen.getvalue().replace("\x1b[2K", "").split("\n")[-2].split("\r")[-1]
    line = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)
    assert len(line.rstrip()) <= width
    assert re.match(rf"Training .*\b7/{total} +0:00:00 left \S+", line), line
    assert ("mean Dice 0.850" in line) == (width >= 80 or total == 9)
    assert ("Posterior part of it 0.900" in line) == (width >= 170)
    assert "..." not in line


def test_parts_that_go_on_side_by_side_each_have_their_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "_PLAIN_SECONDS", 0.0)
    show = display._PlainLines()
    for done in range(4):
        for part in ("fold 0", "fold 1"):
            show(Progress("train", done, 3, {"part": part}))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0] for line in lines] == [
        f"Training fold {part}: {done}/3" for done in (1, 2, 3) for part in (0, 1)
    ]


def test_records_of_progress_are_the_ends_of_a_stage_and_one_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple] = []
    monkeypatch.setattr(display, "emit", lambda kind, **values: written.append((kind, *values.values())))
    shown: list[Progress] = []
    seconds = iter([0.0, 0.1, 0.2, 1.0, 1.1, 1.2, 1.3, 1.4])
    callback = display.recorded(shown.append, lambda: next(seconds))
    for done, share in ((0, 0.0), (0, 0.2), (0, 0.9), (1, 0.0), (1, 0.5), (2, 0.0), (2, 0.0)):
        callback(Progress("predict", done, 2, {"share": share, "note": "x"}))
    callback(Progress("predict", 0, 5, {"part": "fold 1"}))
    assert len(shown) == 8
    assert written == [
        ("progress", "predict", None, 0, 2, {"share": 0.0}),
        ("progress", "predict", None, 1, 2, {"share": 0.0}),
        ("progress", "predict", None, 2, 2, {"share": 0.0}),
        ("progress", "predict", "fold 1", 0, 5, {}),
    ]


def test_a_command_in_a_note_is_in_one_piece_and_words_are_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "console", Console(width=40, highlight=False))
    command = "medseg dicom answers/a.nii.gz 'My Studies/a#d464aad273' answers --generic-codes"
    display.show_notes([f"This writes the SEG: {command}", "a long note, with m.medseg selected, is still folded"])
    out = capsys.readouterr().out
    assert command in out
    assert re.search(r"m\.medseg ?\nselected", out)


def test_a_warning_on_a_scan_is_a_line_at_once_and_a_record(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[dict] = []
    monkeypatch.setattr(display, "emit", lambda kind, **values: written.append({"kind": kind, **values}))
    monkeypatch.setattr(display, "_MOST_WARNINGS", 2)
    with display.progress_display() as show:
        show(Progress("predict", 0, 9))
        for number in range(4):
            show(Progress("predict", number, 9, {"case": f"scan{number}", "warning": f"It is [{'dark ' * 30}]."}))
    lines = capsys.readouterr().out.splitlines()
    dark = f"It is [{'dark ' * 30}]."
    assert [line for line in lines if line.startswith("warning")] == [
        *(f"warning: scan{number}: {dark}" for number in range(2)),
        "warning: there are more; volumes.csv will have them all",
    ]
    doubted = [record for record in written if "warning" in record]  # all of them, and within the same second
    assert [(record["kind"], record["done"], record["case"]) for record in doubted] == [
        ("progress", number, f"scan{number}") for number in range(4)
    ]
    assert doubted[0]["warning"] == dark


def test_a_warning_stands_above_the_bar_which_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None, highlight=False)
    monkeypatch.setattr(display, "console", console)
    with display.progress_display() as show:
        show(Progress("predict", 1, 9))
        show(Progress("predict", 2, 9, {"case": "thick", "warning": "Its slices are thick. " * 9}))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue().replace("\x1b[2K", ""))
    lines = [line.split("\r")[-1].rstrip() for line in text.split("\n")]
    warned = next(number for number, line in enumerate(lines) if line.startswith("warning: thick: Its"))
    assert "Its slices are thick." * 9 in lines[warned].replace(". ", ".")
    bars = [line for line in lines if line.startswith("Segmenting")]
    assert bars
    assert all(re.fullmatch(r"Segmenting .*\b2/9 +0:00:00 left \S+", line) for line in bars[-1:])
