"""Made-up cases whose answers can be judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medseg.confidence.measures import CaseMeasures, Example, Shape, Sureness
from medseg.confidence.quality import Quality, fit_quality

NAMES = ("kidney_left", "kidney_right")


def make_example(number: int, random: np.random.Generator) -> Example:
    """A case with two kidneys: how sure the network is says how good it is, within a few hundredths."""
    sureness, shapes, reference, dice = {}, {}, {}, {}
    for name, side in zip(NAMES, (-60.0, 60.0), strict=True):
        good = float(np.clip(random.normal(0.88, 0.05), 0.3, 0.98))
        volume = float(np.exp(random.normal(5.0, 0.15)))
        sure, agreement = (
            float(np.clip(good + random.normal(0, 0.03), 0, 1)),
            float(np.clip(good + random.normal(0, 0.02), 0, 1)),
        )
        doubt = (1 - good) * volume * 1000
        sureness[name] = Sureness(
            volume * 1000,
            volume * 1000,
            sure * volume * 1000,
            doubt,
            3000.0,
            (random.normal(1, 0.1),),
            (0.3,),
            agreement,
        )
        centre = (side + random.normal(0, 3), random.normal(0, 3), random.normal(0, 3))
        leaning = float(random.normal(0.5 if side < 0 else -0.5, 0.1)), float(random.normal(0, 0.1))
        shapes[name] = Shape(volume, 1, 1.0, 0.0, centre, leaning)
        # in the reference it is larger or smaller by up to the share that is wrong
        reference[name] = replace(shapes[name], volume=volume * (1 + (1 - good) * random.uniform(-1, 1)))
        dice[name] = good
    scan = tuple(random.normal(size=4))
    deep = {"0": tuple(random.normal(size=6))} if number % 3 == 0 else {}
    return Example(
        f"case{number}", str(number % 3), f"case{number}", CaseMeasures(sureness, shapes, scan, deep), reference, dice
    )


def make_examples(count: int) -> list[Example]:
    """So many cases, the same ones each time."""
    random = np.random.default_rng(0)
    return [make_example(number, random) for number in range(count)]


def fitted_quality(examples: list[Example]) -> Quality:
    """What is fitted on cases that suffice for it."""
    fitted = fit_quality(examples, NAMES)
    assert fitted is not None
    return fitted
