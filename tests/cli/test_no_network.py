"""No verb looks up a host, opens a connection or writes into the user's home; all extras are installed here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nnunet_folders import write_model
from small_sets import write_data, write_labelme, write_study

BLOCKED = """
import json, socket, sys, traceback

LOG = sys.argv.pop(1)

def block(name):
    def refused(*arguments, **_):
        if getattr(arguments[0], "family", None) != getattr(socket, "AF_UNIX", -1):
            with open(LOG, "a") as log:
                log.write(f"{name} {arguments[1:] or arguments} " + "".join(traceback.format_stack(limit=15)))
            raise OSError(f"{name} is blocked")
        return original(*arguments)
    owner = socket.socket if name in METHODS else socket
    original = getattr(owner, name)
    setattr(owner, name, refused)

METHODS = ("connect", "connect_ex", "sendto")
for name in (*METHODS, "getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    block(name)
"""
RUN = (
    BLOCKED
    + """
import time
from medseg.cli.app import app

for line in sys.stdin:
    words = json.loads(line)
    try:
        code = app(words, prog_name="medseg", standalone_mode=False) or 0
    except SystemExit as end:
        code = end.code
    except Exception as error:
        code = f"{type(error).__name__}: {error}".replace("\\n", " ")
    print("exit", words[0], code, flush=True)
time.sleep(1)  # messages are sent by threads
"""
)


def run(script: str, folder: Path, text: str) -> tuple[str, str]:
    """Run a script without network; returns what it printed, and the attempts to reach one."""
    log, home = folder / "attempts.log", folder / "home"
    log.touch()
    home.mkdir(exist_ok=True)
    hidden = ("CI", "GITHUB_ACTIONS", "BUILD_ID", "TRAVIS", "JENKINS_URL")  # where telemetry may hold back by itself
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", script, str(log)],
        input=text,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "HOME": str(home), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, log.read_text()


VERBS = [
    ["check", "data"],
    ["series", "study"],
    ["labelme", "drawn", "painted"],
    ["plan", "data", "--name", "balls", "--preset", "cpu"],
    ["train", "--steps", "2", "--set", "training.validation_cases=1"],
    ["predict", "data/imagesTr", "answers"],
    ["evaluate", "answers", "data/labelsTr"],
    ["watch", "data/imagesTr", "watched", "--once"],
    ["report", "runs/balls/3d_fullres/fold_0"],
    ["package", "balls/3d_fullres", "balls.medseg"],
    ["import-nnunet", "nnunet"],
    ["verify", "runs/balls/3d_fullres/fold_0"],
    ["predict", "data/imagesTr/case_0.nii.gz", "packed", "--model", "balls.medseg"],
    ["dicom", "--help"],
    ["demo", "--help"],
]


@pytest.mark.slow
def test_no_verb_reaches_for_a_network(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    write_data(tmp_path / "data")
    write_labelme(tmp_path / "drawn")
    write_study(tmp_path / "study")
    write_model(tmp_path / "nnunet")
    printed, attempts = run(RUN, tmp_path, "".join(json.dumps(words) + "\n" for words in VERBS))
    ended = [line.split()[1:] for line in printed.splitlines() if line.startswith("exit ")]
    assert ended == [[words[0], "0"] for words in VERBS], printed
    assert attempts == ""
    assert not list((tmp_path / "home").glob("*intel*"))


@pytest.mark.slow
def test_openvino_is_imported_without_its_telemetry(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    convert = """
import time, torch
from medseg.inference.openvino_backend import openvino_forward
network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1))
class Listed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network
    def forward(self, tiles):
        return [self.network(tiles)]
openvino_forward(Listed(), 1, (8, 8), torch.float32)
time.sleep(1)
import openvino_telemetry  # other programs of the caller's still find it
"""
    _, attempts = run(BLOCKED + convert, tmp_path, "")
    assert attempts == ""
    assert not list((tmp_path / "home").iterdir())
