"""`--json`: every verb has it, and what stands on standard output are records and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from small_sets import cli_runner

from medseg.cli.app import VERBS, main, verb_command
from medseg.cli.output.display import console, report_failures, show_note
from medseg.cli.output.records import emit, record_result
from medseg.cli.parsing.signature import typer_function


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The command line in this process: exit code and standard output."""
    monkeypatch.setattr(sys, "argv", ["medseg", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0), capsys.readouterr().out


def arguments_of(verb: str, workspace: Path) -> list[str]:
    """As many arguments as a verb insists on, all of them files and folders that are not there."""
    if verb == "networks":  # which insists on none: without a plan it lists what there is
        return ["--plan", str(workspace / "nowhere")]
    if verb == "codes":  # likewise
        return ["nowhere"]
    command = verb_command(verb)
    needed = [one for one in command.params if one.param_type_name == "argument" and one.required]
    return [str(workspace / f"nowhere{number}") for number in range(len(needed))]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_option(verb: str) -> None:
    command = verb_command(verb)
    options = [name for parameter in command.params for name in parameter.opts]
    assert "--json" in options


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("demo", "doctor")])
def test_an_error_is_two_records(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out = run(monkeypatch, capsys, verb, *arguments_of(verb, tmp_path), "--json")
    assert code == 2
    error, result = records(out)
    assert error["kind"] == "error"
    assert error["message"]
    assert result == {"kind": "result", "exit_code": 2}


@pytest.mark.parametrize("verb", VERBS)
def test_so_is_an_option_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    code, out = run(monkeypatch, capsys, verb, "--no-such-option", "--json")
    assert code == 2
    assert [one["kind"] for one in records(out)] == ["error", "result"]
    assert "--no-such-option" in records(out)[0]["message"]


def test_without_the_option_standard_output_is_as_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, capsys, "verify", tmp_path) == (2, "")


def make_app(code: int) -> typer.Typer:
    """A command line of one verb that says something in every way that a verb can."""

    def speak(name: str) -> None:
        console.print("a table")
        print("a library's own print")  # noqa: T201
        show_note("an odd thing")
        report_failures({"b": "no good"})
        emit("case", case=name, state="done", volume=float("nan"), file=Path("out/a.nii.gz"), pair=(1, None))
        record_result(cases=2)
        raise typer.Exit(code)

    made = typer.Typer()
    made.command("speak")(typer_function("speak", speak))
    return made


@pytest.mark.parametrize("code", [0, 1])
def test_what_a_verb_says_becomes_records(code: int) -> None:
    done = cli_runner().invoke(make_app(code), ["Ödem", "--json"])
    assert done.exit_code == code
    assert records(done.stdout) == [
        {"kind": "note", "message": "an odd thing"},
        {"kind": "case", "case": "b", "state": "failed", "problem": "no good"},
        {"kind": "case", "case": "Ödem", "state": "done", "volume": None, "file": "out/a.nii.gz", "pair": [1, None]},
        {"kind": "result", "verb": "speak", "exit_code": code, "cases": 2},
    ]
    for text in ("a table", "a library's own print", "note: an odd thing", "1 case failed", "b: no good"):
        assert text in done.stderr
    plain = cli_runner().invoke(make_app(code), ["Ödem"])
    assert "a table" in plain.stdout
    assert "{" not in plain.stdout


def test_predict_and_verify_say_what_came_of_each_case(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    write_scans: Any,
    small_model: Path,
) -> None:
    scans, out = write_scans(tmp_path / "scans", 2), tmp_path / "out"
    (scans / "broken.nii.gz").write_bytes(b"\x1f\x8b")
    code, text = run(monkeypatch, capsys, "predict", scans, out, "-m", small_model, "--device", "cpu", "--json")
    *others, result = records(text)
    cases = [record for record in others if record["kind"] == "case"]
    assert code == result["exit_code"] == 1
    assert {case["case"]: case["state"] for case in cases} == {
        "scan000": "done",
        "scan001": "done",
        "broken": "failed",
    }
    assert (cases[0]["unit"], cases[0]["warnings"]) == ("ml", [])
    assert set(cases[0]["volumes"]) == {"one", "two"}
    progress = [record for record in others if record["kind"] == "progress"]
    assert [(record["stage"], record["done"], record["total"]) for record in (progress[0], progress[-1])] == [
        ("predict", 0, 3),
        ("predict", 3, 3),
    ]
    assert result["next"] == f"medseg view {scans / 'scan000_0000.nii.gz'} {out / 'scan000.nii.gz'}"
    (out / "volumes.csv").unlink()
    code, text = run(monkeypatch, capsys, "verify", out, "--json")
    begin, *_, changed, result = records(text)
    assert (begin["kind"], begin["stage"], begin["done"]) == ("progress", "verify", 0)
    assert code == result["exit_code"] == 1
    assert (changed["kind"], changed["state"], changed["file"]) == ("file", "missing", "volumes.csv")
    assert (result["missing"], result["changed"], result["new"]) == (1, 0, 0)
