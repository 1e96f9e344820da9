"""Read and write `selection.yaml`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medseg.core.errors import ModelError
from medseg.core.files import read_limited, write_text
from medseg.core.labels import Labels
from medseg.core.wording import counted
from medseg.core.yaml_text import repeats_by_reference
from medseg.selection.record import SCHEMA_VERSION, Selection

NAME = "selection.yaml"
_MOST_BYTES = 4 << 20
_HEADER = "What `medseg predict` does with the models of this plan, and why. `medseg select` wrote it.\n"
_AGAIN = "--no-selection leaves it out; to make it again: medseg select."


def selection_path(runs_of_plan: Path) -> Path:
    """Return where the selection of a plan lies.

    Args:
        runs_of_plan: the folder of the plan's runs, `runs/PLAN`.
    """
    return runs_of_plan / NAME


def read_selection(path: Path) -> Selection | None:
    """Return the selection in a file; None if there is no such file.

    Raises:
        ModelError: it is damaged, or a later version of medseg wrote it.
    """
    content = read_limited(path, _MOST_BYTES)
    return None if content is None else parse_selection(content, str(path))


def parse_selection(content: bytes, source: str) -> Selection:
    """Return the selection that a YAML text holds.

    Args:
        content: of the file.
        source: where it comes from, for messages.

    Raises:
        ModelError: it is not a selection, or a later version of medseg wrote it; the message names the key.
    """
    if len(content) > _MOST_BYTES:
        raise ModelError(f"{source} has more than {_MOST_BYTES:,} bytes, which no selection has.", _AGAIN)
    try:
        from ruamel.yaml import YAML

        text = content.decode("utf-8")
        if repeats_by_reference(text):
            raise ValueError("it repeats parts by reference (*name), which no selection does")
        values: Any = YAML(typ="safe", pure=True).load(text)
    except Exception as error:  # the YAML library raises several unrelated types
        raise ModelError(f"{source} is not valid YAML: {' '.join(str(error).split())[:300]}", _AGAIN) from None
    if not isinstance(values, dict):
        raise ModelError(f"{source} is not a selection: expected keys and values at the top.", _AGAIN)
    version = values.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ModelError(
            f"{source} has schema_version {version}; this medseg reads {SCHEMA_VERSION}.", "Update medseg."
        )
    try:
        return Selection.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise ModelError(f"{source} is not a valid selection: {key}: {problem['msg'].lower()}.", _AGAIN) from None


def write_selection(selection: Selection, path: Path) -> None:
    """Write a selection, atomically."""
    write_text(path, dump_selection(selection))


def dump_selection(selection: Selection) -> str:
    """Return a selection as YAML text."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None  # lists and tables of plain values stand on one line
    yaml.width = 120
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(selection.model_dump(mode="json"), stream)
    return f"# {_HEADER}{stream.getvalue()}"


def check_selection(selection: Selection, labels: Labels, source: str, sides_known: bool = True) -> None:
    """Refuse a selection that speaks of other structures than a model has, or of what cannot be done to its answers.

    Args:
        selection: the selection.
        labels: the structures of the model.
        source: the file, for messages.
        sides_known: whether the plan brings scans to one orientation, so that left and right are known.

    Raises:
        ModelError: it names a structure that the model does not have, has another number of temperatures or
            biases than the model needs, thresholds for structures that exclude each other, or operations that would
            need a background or the sides of the body where there is none.
    """
    named = [name for step in selection.postprocessing for name in step.structures]
    named += [] if selection.quality is None else [*selection.quality.reference.presence]
    unknown = _unknown([*named, *selection.thresholds], labels)
    if unknown:
        raise ModelError(
            f"{source} names the structure {unknown[0]!r}; the model has {', '.join(labels.names)}.", _AGAIN
        )
    if selection.postprocessing and labels.background is None:
        step = selection.postprocessing[0].describe()
        raise ModelError(
            f"{source} has postprocessing ({step}), and the model has no background that could take its place.", _AGAIN
        )
    sided = [step.describe() for step in selection.postprocessing if step.operation == "position"]
    if sided and not sides_known:
        raise ModelError(
            f"{source} goes by left and right ({sided[0]}); the model's plan takes scans as they are stored "
            "(orientation: stored), so that nothing says which side is which.",
            _AGAIN,
        )
    scaling = None if selection.calibration is None else selection.calibration.scaling
    if scaling is not None and not scaling.fits(labels):
        raise ModelError(
            f"{source} has {counted(len(scaling.temperatures), 'temperature')} and biases for {len(scaling.biases)} "
            "outputs; the model needs one temperature, or with regions one for each, and biases for "
            f"{labels.outputs} outputs or none.",
            _AGAIN,
        )
    if selection.thresholds and labels.activation == "softmax":
        raise ModelError(
            f"{source} has thresholds, which are for overlapping regions; the model's structures exclude each other.",
            _AGAIN,
        )


def _unknown(names: Sequence[str], labels: Labels) -> list[str]:
    return [name for name in names if name not in labels.structures]
