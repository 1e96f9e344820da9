"""Made-up facts of cases, for rules that compare them; every builder takes what a test wants to differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.core.case import Case
from medseg.planning.content import CaseContent, ChannelContent, ValuePattern
from medseg.planning.survey import CaseFacts


def make_channel(**others: Any) -> ChannelContent:
    """A scan with intensities from 0 to 1000 and dark structures."""
    values = {
        "low": 0.0,
        "high": 1000.0,
        "mean": 400.0,
        "quantiles": (100.0, 250.0, 400.0, 550.0, 700.0),
        "flat": None,
        "share_high": 0.0,
        "share_negative": 0.0,
        "foreground_rank": 0.3,
        "pattern": ValuePattern(values=500, equal_neighbours=0.01, whole=True),
    }
    return ChannelContent(**{**values, **others})


def make_facts(id: str, channels: Sequence[ChannelContent] | None = None, **others: Any) -> CaseFacts:
    """A case of 10 x 20 x 30 voxels of 1 mm with the values 0 to 2; content that differs is given by its name."""
    content = {
        "channels": tuple(channels or (make_channel(),)),
        "foreground_share": 0.05,
        "border_share": 0.0,
        "foreground_checksum": hash(id),
        "outside_share": 0.0,
        "axes": "RAS",
    }
    values = {
        "id": id,
        "spacing_mm": (1.0, 1.0, 1.0),
        "spacing_known": True,
        "shape_voxels": (10, 20, 30),
        "cropped_voxels": (10, 20, 30),
        "voxel_ml": 0.001,
        "voxels": {0: 5700, 1: 200, 2: 100},
        "grid_difference_voxels": 0.0,
        "resampled": False,
        "notes": (),
    }
    content |= {name: others.pop(name) for name in [*others] if name in content}
    return CaseFacts(**{**values, **others}, content=CaseContent(**content))


def make_cases(facts: Sequence[CaseFacts], **others: Any) -> dict[str, Case]:
    """The cases that the facts are of, by id."""
    return {
        case.id: Case(
            case.id, case.id, (Path(f"set/images/{case.id}.nii.gz"),), Path(f"set/labels/{case.id}.nii.gz"), **others
        )
        for case in facts
    }


def plain_set(count: int, *odd: CaseFacts) -> list[CaseFacts]:
    """That many cases that are alike, and the odd ones."""
    return [*(make_facts(f"c{number:02d}") for number in range(count)), *odd]
