"""`medseg predict` as it is typed: exit codes, messages, and runs that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from builders import contents

from medseg.delivery.answers.prediction_ledger import LEDGER_NAME

WriteScans = Callable[[Path, int], Path]
CommandLine = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-m", "medseg", "predict"]
SCANS = 24


def stop_midway(number: int, *arguments: object, out: Path) -> tuple[int, str]:
    """Start the command, send it a signal once a few answers are there, and wait: its exit code and messages."""
    command = [*COMMAND, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # computes as this process does
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        while len(list(out.glob("*.nii.gz"))) < 3 and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(number)
        _, messages = process.communicate()
    return process.returncode, messages


@pytest.fixture
def scans(tmp_path: Path, write_scans: WriteScans) -> Path:
    return write_scans(tmp_path / "scans", SCANS)


@pytest.mark.slow
def test_a_killed_and_repeated_run_gives_the_same_files(
    tmp_path: Path, write_scans: WriteScans, small_model: Path, command_line: CommandLine
) -> None:
    count = 12
    scans = write_scans(tmp_path / "scans", count)
    out, options = tmp_path / "out", ("--model", small_model, "--mirror", "--device", "cpu", "--no-page")
    code, _ = stop_midway(signal.SIGKILL, scans, out, *options, out=out)
    assert code == -signal.SIGKILL
    finished = (out / LEDGER_NAME).read_text().count('"case":')
    assert 0 < finished < count
    again = command_line("predict", scans, out, *options, "--continue")
    assert again.returncode == 0, again.stderr
    assert "finished before" in again.stdout
    assert command_line("predict", scans, tmp_path / "undisturbed", *options).returncode == 0
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_ends_cleanly_and_says_how_to_go_on(
    tmp_path: Path, scans: Path, small_model: Path, number: int
) -> None:
    out, options = tmp_path / "out", ("--model", small_model, "--mirror", "--device", "cpu,cpu")
    code, messages = stop_midway(number, scans, out, *options, out=out)
    assert code == {signal.SIGINT: 130}.get(number, 2)
    text = " ".join(messages.split())
    assert "Stopped" in text
    assert "--continue does the rest" in text
    assert "Traceback" not in messages
    assert not [path for path in out.iterdir() if path.name.startswith(".")], "temporary files are left"
    lines = [json.loads(line) for line in (out / LEDGER_NAME).read_text().splitlines()]
    recorded = [line["case"] for line in lines if "case" in line]
    assert lines[-1] == {"begun": []}
    assert sorted(recorded) == sorted(path.name.removesuffix(".nii.gz") for path in out.glob("*.nii.gz"))
    assert len(recorded) < SCANS


def test_exit_codes_and_names_of_what_failed(
    tmp_path: Path, write_scans: WriteScans, small_model: Path, command_line: CommandLine
) -> None:
    scans = write_scans(tmp_path / "scans", 2)
    (scans / "broken.nii.gz").write_bytes(b"\x1f\x8b")
    some = command_line("predict", scans, tmp_path / "out", "-m", small_model)
    assert some.returncode == 1
    text = " ".join(some.stdout.split())
    assert "2 scans segmented" in text
    assert "1 case failed: broken:" in text
    none = command_line("predict", scans / "broken.nii.gz", tmp_path / "none", "-m", small_model)
    assert none.returncode == 2
    assert "Traceback" not in none.stderr + some.stderr


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["-i", "scans", "-o", "out"], "medseg predict IN OUT"),
        (["scans", "out", "--disable_tta"], "--no-mirror"),
        (["scans", "out", "-f", "0", "1"], "-f 0,1"),
    ],
)
def test_nnunets_options_are_translated(arguments: list[str], advice: str) -> None:
    from typer.testing import CliRunner

    from medseg.cli.app import app

    answer = CliRunner().invoke(app, ["predict", *arguments])
    assert answer.exit_code == 2
    assert advice in " ".join(answer.output.split())


def test_help_is_grouped_and_has_examples(command_line: CommandLine) -> None:
    text = command_line("predict", "--help-all").stdout
    for part in ("Which model", "Which scans", "How", "--continue", "--device", "Examples", "nnUNet"):
        assert part in text
