"""The section `scoring`: how predictions are scored, after training and by `medseg evaluate`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat

from medseg.plans.sections.section import Section


class Scoring(Section):
    """How predictions are scored, after training and by `medseg evaluate`.

    Attributes:
        nsd_tolerance_mm: structure -> tolerance of its normalized surface distance; 2 mm (or pixels) for the others.
        empty_policy: what an empty structure scores: medseg's own rule (`default`), or that of a challenge.
        surface: what surfaces consist of: `elements` as in DeepMind's code, `voxels` as in MONAI; None for no surface
            distances.
        lesions: also count lesions, which are connected components of a structure.
        instances: also measure the panoptic quality of instances, which are connected components.
        extra_measures: names of measures that were added with `register_measure`; see docs/prediction/measures.md.
        main_measure: the measure by which `medseg select` compares models and operations on answers.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("extra_measures", "main_measure")

    nsd_tolerance_mm: dict[str, PositiveFloat] = {}
    empty_policy: Literal["default", "brats", "isles"] = "default"
    surface: Literal["elements", "voxels"] | None = "elements"
    lesions: bool = False
    instances: bool = False
    extra_measures: list[str] = []
    main_measure: str = "dice"
