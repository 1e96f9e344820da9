"""`medseg check` on the command line: what it prints, and its exit codes."""

import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path, save_picture):
    random = np.random.default_rng(0)
    for number in range(3):
        mask = np.zeros((12, 12))
        mask[2:5, 2 : 5 + number] = 255
        save_picture(tmp_path / f"set/images/[{number}].png", random.integers(0, 255, (12, 12)))
        save_picture(tmp_path / f"set/masks/[{number}].png", mask)
    return tmp_path


@pytest.fixture
def run(folder, command_line):
    def check(*options):
        done = command_line("check", "set", *options, cwd=folder)
        return done.returncode, " ".join(done.stdout.split())

    return check


def test_nothing_wrong(run):
    code, said = run("--strict")
    assert code == 0
    assert "3 cases, nothing wrong was found Wrote checks/set/check.html and check.json" in said


def test_findings_with_what_to_do_and_exit_code_1(folder, run):
    (folder / "set/images/[1].png").write_bytes(b"nothing")
    code, said = run("--output", "there")
    assert code == 1
    assert "1 error: what is left out" in said
    assert "images/[1].png cannot be read" in said
    assert "3 cases: 2 can be used, 1 left out Wrote there/check.html" in said


def test_nothing_can_be_used(folder, run, save_picture):
    for number in range(3):
        save_picture(folder / f"set/images/[{number}].png", np.zeros((12, 12)))
    assert run()[0] == 2
