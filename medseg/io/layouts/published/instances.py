"""Recognize label files whose values are numbers of objects: JSON files beside them name the classes (nnDetection)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.json_text import parse_json
from medseg.io.formats.table import split_suffix

_MOST_BYTES = 1 << 22  # a file of instances is small; larger JSON is something else


def refuse_instances(cases: Sequence[Case]) -> None:
    """Refuse a data set whose label files number objects: 1 is one class in a case and another class in the next.

    nnDetection writes `{"instances": {"1": 0, "2": 1}}` (number of the object: class) as `CASE.json` beside
    `CASE.nii.gz` (its docs, "Adding New Data Sets").

    Args:
        cases: the cases of the data set.

    Raises:
        DataError: there is such a file beside a label.
    """
    for case in cases:
        beside = None if case.label is None else case.label.with_name(f"{split_suffix(case.label)[0]}.json")
        classes = None if beside is None else _instances(beside)
        if beside is not None and classes is not None:
            named = ", ".join(f"{number} is of class {name}" for number, name in [*classes.items()][:4])
            raise DataError(
                f"The values in {case.label} are numbers of objects, not classes: {beside} says that "
                f"{named or 'it holds no object'}.",
                "Write label files in which every voxel has the value of its class (class 0 as 1, class 1 as 2, ...), "
                "without the JSON files, which are nnDetection's.",
            )


def _instances(path: Path) -> dict[str, object] | None:
    """Return {number of the object: class} from a JSON file; None if it is none of nnDetection's."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None
    classes = content.get("instances") if isinstance(content, dict) else None
    return classes if isinstance(classes, dict) else None
