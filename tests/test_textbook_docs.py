"""The commands of docs/from-the-textbook.md, each run as it stands on a stand-in, with a length of two steps."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from encoder_library import require_encoders
from paths import ROOT
from sets import textbook_sets
from small_sets import run

TEXT = (ROOT / "docs" / "from-the-textbook.md").read_text(encoding="utf-8")
STEPS = "--steps 2"
WEIGHTS = "mobilenet_v2.pth"


class Exercise(NamedTuple):
    """The stand-in of a section of the page, and what its commands leave behind."""

    write: Callable[[Path], None]
    folder: str
    results: tuple[str, ...]


EXERCISES = {
    "U-Net, five classes, softmax": Exercise(
        textbook_sets.write_tissue,
        "tissue",
        ("out/tissue/pooled.csv", "out/tissue/tile_04.png", "out/tissue/overlays/tile_04.png"),
    ),
    "U-Net, one class, sigmoid, focal loss": Exercise(
        textbook_sets.write_cells, "cells", ("runs/cells/2d/fold_0/validation/metrics.json",)
    ),
    "Pets: a pretrained encoder, frozen": Exercise(
        textbook_sets.write_pets, "pets", ("runs/pets/2d/fold_0/live.html", "out/pets/pooled.csv")
    ),
    "Driving scenes: ERFNet, the encoder first": Exercise(
        textbook_sets.write_driving, "idd", ("runs/idd_encoder/2d/fold_0/report.html", "out/idd_val/pooled.csv")
    ),
    "Street scenes: CamVid, eleven classes and void": Exercise(
        textbook_sets.write_camvid, "camvid", ("out/camvid/pooled.csv",)
    ),
    "Portraits: from labelme to mIoU": Exercise(
        textbook_sets.write_portraits,
        "portraits",
        ("portraits_voc/SegmentationClass/portrait_0.png", "runs/portraits_voc/2d/fold_0/validation/metrics.json"),
    ),
    "Deep supervision: which levels, how many, what weights": Exercise(
        textbook_sets.write_tissue, "tissue", ("out/deep/metrics.json", "out/deep/report.html")
    ),
}


def blocks(section: str) -> list[list[str]]:
    """Return the commands of each block of a section of the page."""
    return [block.strip().splitlines() for block in re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)]


SECTIONS = {text.partition("\n")[0].strip(): text for text in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}


def test_every_section_of_the_page_is_an_exercise_with_commands() -> None:
    assert SECTIONS.keys() == EXERCISES.keys()
    commands = [command for title in SECTIONS for block in blocks(SECTIONS[title]) for command in block]
    assert all(command.startswith("medseg ") for command in commands)
    assert TEXT.count("\nmedseg ") == len(commands)
    trainings = [command for command in commands if command.startswith("medseg train")]
    assert all("--budget " in command for command in trainings)
    assert f"`{STEPS}` in place of each `--budget`" in " ".join(TEXT.split())


@pytest.mark.slow
@pytest.mark.parametrize("title", EXERCISES)
def test_the_commands_of_the_page(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exercise = EXERCISES[title]
    exercise.write(tmp_path / exercise.folder)
    monkeypatch.chdir(tmp_path)
    for block in blocks(SECTIONS[title]):
        if any("--weights" in command for command in block):
            require_encoders()  # or the rest is skipped, with the reason
            write_encoder(tmp_path / WEIGHTS)
        for command in block:
            words = shlex.split(re.sub(r"--budget \S+", STEPS, command))
            code = run(shlex.join(words[1:]))
            printed = capsys.readouterr()
            assert code == 0, f"{command}\n{printed.out}\n{printed.err}"
    for path in exercise.results:
        assert (tmp_path / path).is_file(), path


def write_encoder(path: Path) -> None:
    """Write random weights of MobileNetV2 under torchvision's names."""
    import torch
    from torchvision.models import mobilenet_v2

    torch.save(mobilenet_v2(weights=None).state_dict(), path)
