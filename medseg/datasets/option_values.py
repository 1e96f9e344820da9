"""Parse the texts of options on labels: structures, colours, and how values in files are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions, split_pair
from medseg.io.values.class_names import check_spellings, means_background
from medseg.io.values.colours import parse_colour, read_colour_table
from medseg.plans.problems import validation_message
from medseg.plans.sections.reading import Reading

_PAIRS = re.compile(r"[^=,]+=\s*-?[0-9]+\s*(?:,[^=,]+=\s*-?[0-9]+\s*)+")
"""Several `NAME=VALUE` with commas between them; a comma in a name is part of it."""


def reading_from_options(options: DataOptions, colours: dict[str, int] | None = None) -> Reading:
    """Return how files are read, as options say it.

    Args:
        options: the user's options.
        colours: `#rrggbb` -> value, for masks in colours.

    Raises:
        PlanError: a value or range is not valid.
    """
    try:
        return Reading(
            frame=options.frame,
            threshold=options.threshold,
            map=_parse_map(options.map),
            colours=colours or {},
            resample_labels=options.resample_labels,
            resample_tilt=options.resample_tilt,
            allow_gaps=options.allow_gaps,
        )
    except ValueError as error:  # pydantic's ValidationError is a ValueError
        raise PlanError(
            validation_message(error), "Examples: --map 3=0, --map 128-255=1, --threshold 0.5, --frame 0"
        ) from None


def parse_structures(structures: Sequence[str]) -> Labels:
    """Return the labels that `NAME=VALUE` texts declare; without a background if a structure has the value 0.

    Args:
        structures: one pair each, or several with commas between them.

    Raises:
        PlanError: a text is not of this form, a name or value occurs twice, or a value is not a whole number.
        DataError: two names differ in capitals alone.

    >>> parse_structures(["liver=1", "spleen=3"]).structures
    {'liver': 1, 'spleen': 3}
    >>> print(parse_structures(["sky=0,road=1", "car=2"]).background)
    None
    """
    texts = [part for text in structures for part in (text.split(",") if _PAIRS.fullmatch(text) else [text])]
    pairs = [split_pair(text, "--structures liver=1") for text in texts]
    wrong = [f"{name}={value}" for name, value in pairs if not re.fullmatch(r"-?[0-9]+", value)]
    if wrong or len({name for name, _ in pairs}) < len(pairs):
        raise PlanError(
            f"structures are {', '.join(structures)}; expected NAME=VALUE with whole values, each name once.",
            "Example: --structures liver=1 --structures spleen=3, or --structures liver=1,spleen=3",
        )
    check_spellings([name for name, _ in pairs], "--structures")
    values = {name: int(value) for name, value in pairs}
    named = any(value == 0 and not means_background(name) for name, value in values.items())
    try:
        return Labels.model_validate({"structures": values, **({"background": None} if named else {})})
    except ValueError as error:  # pydantic's ValidationError is a ValueError
        raise PlanError(f"structures are {', '.join(structures)}: {validation_message(error)}") from None


def parse_colours(texts: Sequence[str]) -> dict[str, str]:
    """Return structure -> `#rrggbb` from `NAME=COLOUR` texts and paths of tables.

    Args:
        texts: one of either each.

    Raises:
        PlanError: a text is neither, or two structures have the same colour.
        DataError: a table cannot be read.
    """
    names: dict[str, str] = {}
    for text in texts:
        if "=" not in text:
            names |= read_colour_table(Path(text))
            continue
        name, value = split_pair(text, "--colours 'liver=#ff0000'")
        colour = parse_colour(value)
        if colour is None or colour in names.values():
            problem = "is the colour of two structures" if colour else "is not a colour"
            raise PlanError(f"{value!r} {problem}.", "Expected #rrggbb or r,g,b: --colours 'liver=#ff0000'")
        names[name] = colour
    return names


def _parse_map(texts: Sequence[str]) -> dict[int | str, int]:
    """Return the value map that `OLD=NEW` texts describe, as `Reading.map` has it."""
    table: dict[int | str, int] = {}
    for text in texts:
        source, target = split_pair(text, "--map 3=0")
        if not re.fullmatch(r"-?\d+(--?\d+)?", source) or not re.fullmatch(r"-?\d+", target):
            raise PlanError(
                f"--map {text} is not valid; expected a whole number, or a range of them, and the value meant.",
                "Examples: --map 3=0, --map 128-255=1",
            )
        key: int | str = int(source) if re.fullmatch(r"-?\d+", source) else source
        if key in table:
            raise PlanError(f"--map gives {source} twice; expected each value once.")
        table[key] = int(target)
    return table
