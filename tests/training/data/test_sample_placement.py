"""Where cases lie: parts of cache files are read as they are needed, in memory that stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_sample
from paths import HELPERS
from safetensors.torch import save_file

from medseg.training.data.sample_placement import PlacedSamples, place_samples, room_for_samples

CPU = torch.device("cpu")
MEGABYTE = 1 << 20
READER = """
import sys
from pathlib import Path
import numpy as np
import torch
from builders import make_configuration, make_sample, make_training
from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.preprocessing.cache import _read
from medseg.training.data.batches import Batches

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

def total(sample, steps):
    augmentation = {**make_training().augmentation.model_dump(), "rotation_probability": 0.5}
    maker = Batches([sample], make_configuration(3), make_training(augmentation=augmentation), torch.device("cpu"))
    return sum(float(maker.make(step).image.double().sum()) for step in range(steps))

total(make_sample(np.zeros((20, 20, 20)), np.zeros((20, 20, 20))), 10)  # loads what is compiled
before = private()
sample = _read(Case("case", "case", ()), Path(sys.argv[1]), Labels(structures={"one": 1, "two": 2}))
found = total(sample, 40)
print(private() - before, found)
"""


def test_cases_that_fit_and_cases_that_do_not_are_told_apart() -> None:
    samples = [make_sample(np.zeros((10, 10, 10)), np.zeros((10, 10, 10)))] * 3  # 6 bytes a voxel
    for free, words in ((18_000, "in memory"), (17_999, "read from the cache as needed")):
        placed, where = place_samples(samples, CPU, free, 8)
        assert placed == samples
        assert words in where
        assert "0.018 MB" in where


def test_cases_get_what_network_and_batch_leave_of_a_gpu() -> None:
    """Of what is free 85 % count, and what the plan lets network and batch take comes first."""
    assert room_for_samples(11.5e9, 8) == pytest.approx(1.775e9)  # 12 GB: half of it would have been too much
    assert room_for_samples(7.5e9, 8) == 0  # 8 GB: cases are streamed
    assert room_for_samples(139e9, 8) == pytest.approx(110.15e9)
    assert room_for_samples(23e9, 24) == 0


def test_cases_leave_the_gpu_once() -> None:
    on_host, on_device = ([make_sample(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)))] * 2 for _ in range(2))
    placed = PlacedSamples(on_host, on_device)
    assert len(placed) == 2
    assert placed[1] is on_device[1]
    assert placed.note is None
    assert placed.to_host("CUDA out of memory")
    assert list(placed) == on_host
    assert placed[1] is on_host[1]
    assert not placed.to_host("again")
    assert placed.note == (
        "not enough memory on the GPU: training cases are now read from the cache (CUDA out of memory)"
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_a_large_case_is_trained_on_without_being_loaded(tmp_path: Path) -> None:
    """160 MB, of which 40 batches of two patches of 16 voxels read a little."""
    shape = (260, 300, 330)
    image = torch.arange(shape[0], dtype=torch.float32)[:, None, None].expand(shape).contiguous()[None]
    label = torch.zeros(shape, dtype=torch.int16)
    label[20, 200, 200] = 1
    place_of_it = torch.tensor([np.ravel_multi_index((20, 200, 200), shape)])
    save_file(
        {"image": image, "label": label, "locations_0": place_of_it, "locations_1": place_of_it[:0]},
        tmp_path / "case.safetensors",
    )
    assert image.nbytes + label.nbytes > 140 * MEGABYTE
    command = [sys.executable, "-c", READER, str(tmp_path / "case.safetensors")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HELPERS)
    assert answer.returncode == 0, answer.stderr
    grown, total = (float(word) for word in answer.stdout.split())
    assert grown < 20
    assert total > 0
