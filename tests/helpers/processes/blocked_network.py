"""Every verb with tiny inputs, and scripts in which every way of Python's to a network is blocked and counted."""

from __future__ import annotations

import os
from pathlib import Path

from judged_workspace import STEPS, write_judged_workspace

BLOCKED = """
import json, socket, sys, traceback
from concurrent.futures import ThreadPoolExecutor

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

SUBMITTED = []
original_submit = ThreadPoolExecutor.submit

def submit(*arguments, **options):
    SUBMITTED.append(original_submit(*arguments, **options))
    return SUBMITTED[-1]

ThreadPoolExecutor.submit = submit

def wait_for_threads():  # messages are sent by threads
    for future in SUBMITTED:
        if not future.cancelled():
            future.exception()
"""
RUN = (
    BLOCKED
    + """
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
wait_for_threads()
"""
)
VERBS = [
    ["check", "data"],
    ["series", "study"],
    ["codes", "kidney"],
    ["info", "map.nii.gz"],
    ["doctor", "--quick"],
    ["view", "data/imagesTr/case_0.nii.gz"],
    ["labelme", "drawn", "painted"],
    ["plan", "data", "--name", "balls", "--preset", "cpu"],
    ["networks", "--draw", "flexible_unet"],
    ["networks", "--plan", "balls"],
    ["train", "--steps", "2", "--set", "training.validation_cases=1", "--log", "tensorboard,mlflow"],
    ["crossval", "--folds", "0"],
    ["select", "balls", "--folds", "0"],
    ["quantize", "balls", "--folds", "0"],
    ["predict", "data/imagesTr", "answers", "--xlsx"],
    ["evaluate", "answers", "data/labelsTr"],
    ["watch", "data/imagesTr", "watched", "--once"],
    ["report", "runs/balls/3d_fullres/fold_0"],
    ["package", "balls/3d_fullres", "balls.medseg"],
    ["export", "balls/3d_fullres", "balls.onnx"],
    ["export", "balls/3d_fullres", "bundle", "--monai-bundle"],
    ["crossval", "--workspace", "judged", "--steps", str(STEPS)],
    ["select", "--workspace", "judged"],
    ["rank", "judged/new", "ranked", "--workspace", "judged", "--xlsx"],
    ["import-nnunet", "nnunet"],
    ["verify", "runs/balls/3d_fullres/fold_0"],
    ["predict", "data/imagesTr/case_0.nii.gz", "packed", "--model", "balls.medseg"],
    [
        *("predict", "study", "of_study", "--model", "balls.medseg"),
        "--write",
        "nifti,seg,rtstruct,report",
        "--generic-codes",
    ],
    ["dicom", "map.nii.gz", "study", "objects", "--structures", "liver=1", "--algorithm", "toy 1"],
    ["demo", "demo", "--budget", "5s"],
]
"""Every verb, in an order in which each finds what it needs."""


def write_inputs(folder: Path) -> None:
    """Write what the verbs take."""
    from nnunet_folders import write_model
    from small_sets import write_data, write_labelme, write_map, write_study

    write_data(folder / "data")
    write_labelme(folder / "drawn")
    write_study(folder / "study")
    write_map(folder / "map.nii.gz")
    write_model(folder / "nnunet")
    write_judged_workspace(folder / "judged")


def environment(home: Path) -> dict[str, str]:
    """Return the environment of such a script: an empty home, and nothing that says it runs as a test."""
    # where telemetry may hold back by itself, and what medseg itself has set in the process of the test
    hidden = ("CI", "GITHUB_ACTIONS", "BUILD_ID", "TRAVIS", "JENKINS_URL", "PYTEST_CURRENT_TEST", "PYTEST_VERSION")
    hidden = (*hidden, "ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    values = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**values, "HOME": str(home), "OMP_NUM_THREADS": "1"}
