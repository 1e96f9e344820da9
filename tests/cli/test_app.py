"""The command line: help, exit codes, messages."""

import subprocess
import sys

import pytest

from medseg.cli.app import VERBS, _explain
from medseg.core.errors import PlanError
from medseg.core.options import parse_duration
from medseg.core.wording import duration


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_examples(verb, command_line):
    done = command_line(verb, "--help")
    assert done.returncode == 0
    assert "Examples" in done.stdout
    assert f"medseg {verb}" in done.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from medseg.cli.app import VERBS, verb_command\n"
        "for verb in VERBS: verb_command(verb)\n"
        "heavy = {'torch', 'numpy', 'nibabel', 'matplotlib', 'sklearn', 'scipy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "seen", "advice"),
    [
        (["plan", "nowhere"], "nowhere", None),
        (["train"], "no plan", "medseg plan"),
        (["predict", "nowhere", "out"], "no trained model", "medseg train"),
        (["evaluate", "nowhere", "elsewhere"], "no file or folder elsewhere", None),
        (["train", "--device", "tpu"], "no plan", None),
    ],
)
def test_errors_are_one_message_and_exit_code_2(tmp_path, command_line, arguments, seen, advice):
    done = command_line(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    text = " ".join(done.stderr.split())
    assert seen in text
    assert "Traceback" not in done.stderr
    if advice:
        assert advice in text


def test_durations():
    assert parse_duration("90s") == 90
    assert parse_duration("1h30m") == 5400
    assert parse_duration("0.5h") == 1800
    with pytest.raises(PlanError, match="5m"):
        parse_duration("soon")
    assert (duration(45), duration(200), duration(7500)) == ("45 s", "3:20", "2:05:00")


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 9 GiB"), RuntimeError("DefaultCPUAllocator: no")])
def test_memory_that_runs_out_is_no_error_in_medseg(error):
    import torch  # noqa: F401 - whose errors on memory are RuntimeErrors

    message, hint = _explain(error)
    assert message == f"There is not enough memory: {error}"
    assert "more memory" in hint
    assert _explain(RuntimeError("a defect")) is None
