"""labels.json beside answers: what each value means, its codes, how references were read, and how to score.

`predict` and the validation of `train` write it; `evaluate` and `dicom` read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.colours import hex_number
from medseg.core.errors import DataError
from medseg.core.files import write_json
from medseg.core.json_text import parse_json
from medseg.core.labels import Labels
from medseg.io.images import AS_STORED
from medseg.plans.schema import Plan
from medseg.plans.sections.reading import Reading
from medseg.plans.sections.scoring import Scoring
from medseg.plans.terminology import Coding

NAME = "labels.json"
_VERSION = 2


@dataclass(frozen=True)
class Answers:
    """What labels.json says about a folder of answers.

    Attributes:
        labels: the structures and their values.
        reading: how the references of the training data were read.
        scoring: how the plan wants answers to be scored.
        codes: {structure: coded words for DICOM}.
    """

    labels: Labels
    reading: Reading = AS_STORED
    scoring: Scoring = field(default_factory=Scoring)
    codes: dict[str, Coding] = field(default_factory=dict)


def write_labels_file(folder: Path, plan: Plan) -> None:
    """Write labels.json into a folder of answers that a model of this plan gave."""
    content = {
        "schema_version": _VERSION,
        "names": plan.labels.written_values,
        "colours": {name: hex_number(number) for number, name in enumerate(plan.labels.written_values)},
        "labels": plan.labels.model_dump(mode="json"),
        "reading": plan.data.reading.model_dump(mode="json"),
        "scoring": plan.scoring.model_dump(mode="json"),
        "codes": {name: coding.model_dump(mode="json") for name, coding in plan.codes.items()},
    }
    write_json(folder / NAME, content)


def read_labels_file(folder: Path) -> Answers | None:
    """Return what labels.json in a folder says; None if there is no such file.

    Raises:
        DataError: the file does not say what it should.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return Answers(
            Labels.model_validate(content["labels"]),
            Reading.model_validate(content.get("reading", {})),
            Scoring.model_validate(content.get("scoring", {})),
            {name: Coding.model_validate(coding) for name, coding in content.get("codes", {}).items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # ValidationError is a ValueError
        raise DataError(
            f"{path} does not declare labels: {' '.join(str(error).split()) or type(error).__name__}.",
            "Expected what medseg predict writes; without the file, the data set's declaration is taken.",
        ) from None
