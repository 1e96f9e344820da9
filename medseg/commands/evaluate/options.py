"""Options of `medseg evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from medseg.core.errors import DataError
from medseg.core.options import OFTEN, PYTHON_ONLY, Option
from medseg.datasets.data_options import LabelOptions
from medseg.engines.options import ClusterOptions

if TYPE_CHECKING:
    from medseg.plans.sections.reading import Reading

_MEASURES = Option(group="What is measured")
_CASES = Option(group="Which cases")
_VALUES = Option(group="What label files mean")
_OUTPUT = Option(group="Output and exit code")


@dataclass(frozen=True)
class EvaluateOptions(LabelOptions, ClusterOptions):
    """Options of `medseg evaluate`.

    Attributes:
        tolerance: STRUCTURE=MM: tolerance of the surface Dice (NSD) of a structure, in mm; repeatable. if left out,
            that of labels.json beside the answers, else 2 mm.
        surface: Measure distances between surfaces.
        lesions: Also count lesions: detection F1 and Dice.
        instances: Also measure the panoptic quality of instances.
        empty: How to score a structure that is empty in the answer, the reference or both: default, brats or isles.
        scoring: Keys of the plan's section `scoring` that replace those of `labels.json` and the options above.
        compare: Another folder of answers, to compare with; repeatable.
        table: CSV of the cases: id (or case), and any of patient, annotated (structures with ; between), and attributes
            such as site or sex.
        by: Column of the CSV of --cases to make subgroups of; repeatable.
        patient_pattern: Regular expression that finds the patient in a case's name.
        allow_missing: Accept references without a prediction, and only count them; otherwise each is a failed case.
        pair: Which names make a pair: equal (apart from _0000, _seg and the like), or similar where none are equal;
            then every pair is listed.
        prediction_threshold: For soft predictions: voxels with at least this value are the structure, as value 1. Of
            other answers (--compare) it also holds where no labels.json lies beside them.
        prediction_map: OLD=NEW as --map, for values in predictions; repeatable. Of other answers likewise.
        annotated: {case: the structures that were annotated there}, where not all were.
        reading: What the values in the references mean, in place of what `labels.json` and the options on label files
            say.
        output: Folder for report.html and the tables; if left out, OUT.
        fail_below: MEASURE=VALUE or STRUCTURE:MEASURE=VALUE that a mean must reach, else the exit code is 3;
            repeatable.
    """

    tolerance: Annotated[Sequence[str], Option(group=_MEASURES.group, metavar="STRUCTURE=MM"), OFTEN] = ()
    surface: Annotated[bool, Option("--surface/--no-surface", _MEASURES.group)] = True
    lesions: Annotated[bool, _MEASURES] = False
    instances: Annotated[bool, _MEASURES] = False
    empty: Annotated[str | None, _MEASURES] = None
    scoring: Annotated[Mapping[str, Any], PYTHON_ONLY] = field(default_factory=dict)
    compare: Annotated[Sequence[Path], _MEASURES, OFTEN] = ()
    table: Annotated[Path | None, Option("--cases", _CASES.group)] = None
    by: Annotated[Sequence[str], Option(group=_CASES.group, metavar="COLUMN"), OFTEN] = ()
    patient_pattern: Annotated[str | None, Option(group=_CASES.group, metavar="REGEX")] = None
    allow_missing: Annotated[bool, _CASES] = False
    pair: Annotated[str, Option(group=_CASES.group, metavar="equal|similar"), OFTEN] = "equal"
    prediction_threshold: Annotated[float | None, _VALUES] = None
    prediction_map: Annotated[Sequence[str], Option(group=_VALUES.group, metavar="OLD=NEW")] = ()
    annotated: Annotated[Mapping[str, Sequence[str]], PYTHON_ONLY] = field(default_factory=dict)
    reading: Annotated["Reading | None", PYTHON_ONLY] = None  # noqa: UP037 (Reading is imported for type checkers only)
    output: Annotated[Path | None, _OUTPUT, OFTEN] = None
    fail_below: Annotated[Sequence[str], Option(group=_OUTPUT.group, metavar="MEASURE=VALUE"), OFTEN] = ()

    @property
    def others(self) -> tuple[Path, ...]:
        """The folders to compare with; from Python, `compare` may be a single one.

        Raises:
            DataError: One is named twice.
        """
        paths = (self.compare,) if isinstance(self.compare, str | Path) else self.compare
        others = tuple(map(Path, paths))
        for number, path in enumerate(others):
            if path in others[:number]:
                raise DataError(f"--compare names {path} twice.", "Name each folder once.")
        return others

    @property
    def scoring_keys(self) -> dict[str, Any]:
        """Keys of the plan's section `scoring` that these options set.

        Raises:
            DataError: A tolerance is not valid.
        """
        keys: dict[str, Any] = {}
        if self.tolerance:
            keys["nsd_tolerance_mm"] = dict(map(_parse_tolerance, self.tolerance))
        if not self.surface:
            keys["surface"] = None
        if self.lesions:
            keys["lesions"] = True
        if self.instances:
            keys["instances"] = True
        if self.empty is not None:
            keys["empty_policy"] = self.empty
        return {**keys, **self.scoring}


def _parse_tolerance(text: str) -> tuple[str, float]:
    """Return structure and millimetres from `liver=3`."""
    name, _, value = text.rpartition("=")
    try:
        if name.strip():
            return name.strip(), float(value)
    except ValueError:
        pass
    raise DataError(f"{text!r} is not a tolerance.", "Write the structure and millimetres: --tolerance liver=3")
