"""The service of docs/prediction/pipelines.md, as it is in examples/: many calls, calls given up, several threads."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
from paths import ROOT
from processes.process_memory import resident_bytes

import medseg

SERVICE = ROOT / "examples" / "service.py"
SCANS = ("hippocampus_001", "hippocampus_003")
WINDOW_BYTES = 1 << 20
"""More than this in every ten calls would be a leak of 100 kB a call: less than half of a scan."""


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("service", SERVICE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["service"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def service(example: ModuleType, hippocampus_model: Path) -> Iterator:
    with example.Service(hippocampus_model, "cpu", threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def scans(data_dir: Path) -> list[medseg.Image]:
    """A small part of a scan, and a scan that takes several tiles."""
    small, other = (medseg.read_image(data_dir / "hippocampus" / "imagesTr" / f"{name}.nii.gz") for name in SCANS)
    return [medseg.Image(small.array[:, 4:28, 10:40, 2:32], small.affine), other]


@pytest.fixture(scope="module")
def truth(hippocampus_model: Path, scans: list[medseg.Image]) -> list[np.ndarray]:
    """What a predictor of its own says of each scan."""
    answers = [medseg.Predictor.load(hippocampus_model, "cpu")(scan).array for scan in scans]
    assert all(len(np.unique(answer)) == 3 for answer in answers), "both structures are found"
    return answers


@pytest.mark.real
def test_fifty_calls_of_two_sizes_leave_nothing_behind(service, scans, truth, capsys) -> None:
    def call(times: int) -> None:
        for _ in range(times):
            for scan, expected in zip(scans, truth, strict=True):
                np.testing.assert_array_equal(service.submit(scan).answer.result().array, expected)

    call(5)
    levels = [resident_bytes()]
    for _ in range(4):
        call(5)
        levels.append(resident_bytes())
    windows = [after - before for before, after in pairwise(levels)]
    with capsys.disabled():
        print("\nservice: MiB more after each 10 of 40 calls:", *(f"{one / 2**20:.2f}" for one in windows))  # noqa: T201
    assert min(windows) < WINDOW_BYTES, "an allocator grows now and then, a leak with every call"


@pytest.mark.real
def test_a_call_is_given_up_in_its_middle_and_the_next_is_right(example, service, scans, truth) -> None:
    shares: list[float] = []
    jobs: list = []

    def stop(share: float) -> None:
        shares.append(share)
        if share > 0:
            jobs[0].cancel()

    job = example.Job(scans[1], stop)
    jobs.append(job)
    service._queue.put(job)
    with pytest.raises(medseg.Cancelled):
        job.answer.result()
    assert 0 < shares[-1] < 1, "some tiles were done, and some were not"
    for scan, expected in zip(scans, truth, strict=True):
        np.testing.assert_array_equal(service.submit(scan).answer.result().array, expected)


@pytest.mark.real
def test_a_failure_is_reported_and_the_next_call_is_right(service, scans, truth) -> None:
    wrong = scans[0].with_array(np.repeat(scans[0].array, 2, axis=0))
    with pytest.raises(medseg.DataError):
        service.submit(wrong).answer.result()
    np.testing.assert_array_equal(service.submit(scans[0]).answer.result().array, truth[0])


@pytest.mark.real
def test_two_threads_answer_as_one(example, hippocampus_model, scans, truth) -> None:
    with example.Service(hippocampus_model, "cpu", threads=2) as service:
        jobs = [service.submit(scans[number % 2]) for number in range(12)]
        given_up = service.submit(scans[1])
        given_up.cancel()
    for number, job in enumerate(jobs):
        np.testing.assert_array_equal(job.answer.result().array, truth[number % 2])
    assert given_up.answer.done()


@pytest.mark.real
def test_the_service_as_a_program(data_dir, hippocampus_model, scans, truth, tmp_path) -> None:
    scan = data_dir / "hippocampus" / "imagesTr" / f"{SCANS[1]}.nii.gz"
    requests = [
        {"scan": str(scan), "labels": str(tmp_path / "a.nii.gz")},
        {"scan": "nowhere.nii.gz", "labels": "b.nii.gz"},
        {"scan": "no labels"},
    ]
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(
        [sys.executable, SERVICE, hippocampus_model],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    message = {one.get("scan"): one for one in map(json.loads, done.stdout.splitlines())}
    assert "labels" in message[None]["error"]
    assert set(message[str(scan)]["volumes"]) == {"Anterior", "Posterior"}
    assert "nowhere.nii.gz" in message["nowhere.nii.gz"]["error"]
    answer = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj).transpose()
    assert (answer != truth[1][0]).mean() < 1e-3, "another process may take another precision or backend"


@pytest.mark.real
def test_an_answer_that_nobody_waits_for_any_more_ends_no_thread(example, hippocampus_model, scans, truth) -> None:
    with example.Service(hippocampus_model, "cpu", threads=1) as service:
        jobs = [service.submit(scans[number]) for number in (1, 0, 0)]
        assert jobs[1].answer.cancel(), "it waits for the first one"
    np.testing.assert_array_equal(jobs[2].answer.result(0).array, truth[0])
