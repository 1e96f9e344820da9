"""No verb looks up a host, opens a connection or writes into the user's home; all extras are installed here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes.blocked_network import BLOCKED, RUN, VERBS, environment, write_inputs

from medseg.cli import app


def run(script: str, folder: Path, text: str) -> tuple[str, str]:
    """Run a script without network; returns what it printed, and the attempts to reach one."""
    log, home = folder / "attempts.log", folder / "home"
    log.touch()
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", script, str(log)],
        input=text,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(home),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, log.read_text()


def written_to_home(home: Path) -> list[str]:
    """The files in a home, but for matplotlib's list of the fonts of this machine."""
    files = [path.relative_to(home).as_posix() for path in sorted(home.rglob("*")) if path.is_file()]
    return [name for name in files if not name.startswith(".cache/matplotlib/")]


def test_every_verb_is_among_those_that_are_tried() -> None:
    assert {words[0] for words in VERBS} == {*app.VERBS}


@pytest.mark.slow
def test_no_verb_reaches_for_a_network(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    write_inputs(tmp_path)
    verbs = [words for words in VERBS if words[0] != "demo"]  # it takes minutes: tests/campaigns/sockets.py runs it
    printed, attempts = run(RUN, tmp_path, "".join(json.dumps(words) + "\n" for words in verbs))
    ended = [line.split()[1:] for line in printed.splitlines() if line.startswith("exit ")]
    # a processor may not have what int8 needs, and a network of two steps may lose too much by it
    allowed = {"quantize": ("0", "1", "2")}
    assert [verb for verb, *_ in ended] == [words[0] for words in verbs], printed
    assert [words for words in ended if words[1] not in allowed.get(words[0], ("0",))] == [], printed
    assert attempts == ""
    assert written_to_home(tmp_path / "home") == []


def test_libraries_are_imported_without_their_telemetry(tmp_path: Path) -> None:
    """They write into the home at their import, where nothing tells them not to. The verbs above import MONAI, too."""
    for library in ("onnxruntime", "mlflow"):
        pytest.importorskip(library)
    _, attempts = run(BLOCKED + "import medseg, mlflow, onnxruntime", tmp_path, "")
    assert attempts == ""
    assert written_to_home(tmp_path / "home") == []


@pytest.mark.slow
@pytest.mark.skipif("ONEDNN_MAX_CPU_ISA" in os.environ, reason="OpenVINO then computes no network of another library")
def test_openvino_and_nncf_are_imported_without_their_telemetry(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    convert = """
import torch
from medseg.inference.backends.openvino_backend import openvino_forward
network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1))
class Listed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network
    def forward(self, tiles):
        return [self.network(tiles)]
openvino_forward(Listed(), 1, (8, 8), torch.float32)
wait_for_threads()
from importlib.util import find_spec
from medseg.networks.unet import UNet
from medseg.plans.schema import Network
if find_spec("nncf") is not None:
    from medseg.inference.backends.openvino_fit_int8 import fit_roundings
    values = {"features": [4, 8], "kernels": [[3, 3]] * 2, "strides": [[1, 1], [2, 2]], "blocks": [1, 1]}
    unet = UNet(Network(name="plain_unet", decoder_convolutions=[1], **values), 1, 2, residual=False)
    fit_roundings(unet.eval(), [torch.randn(1, 1, 8, 8)])
    wait_for_threads()
import openvino_telemetry  # other programs of the caller's still find it
"""
    _, attempts = run(BLOCKED + convert, tmp_path, "")
    assert attempts == ""
    assert not list((tmp_path / "home").iterdir())
