"""How a fold is computed in 8 bits: `int8.json` beside its weights, as `medseg quantize` wrote it; with its evidence.

The file holds ranges of values and no weights: those stay in `weights.safetensors`, and are rounded where the network
is made ready (`inference/backends/openvino_int8.py`). So it stays small, holds no code, and goes with any patch.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from medseg.core.errors import ModelError
from medseg.core.files import read_limited, write_text
from medseg.core.json_text import parse_json
from medseg.core.wording import counted
from medseg.plans.sections.section import Section

SCHEMA_VERSION = 2
MOST_BYTES = 4 << 20
DICE_DIGITS = 5
"""To which mean Dice is recorded, and its loss compared."""
LARGEST_LOSS = 0.001
"""Of the mean Dice on validation cases: what loses more is not kept."""
_AGAIN = "`medseg quantize` makes it again; it can be deleted, too."
_Count = Annotated[int, Field(ge=0)]


class Rounding(Section):
    """Values that are rounded to evenly spaced levels on their way into layers.

    Attributes:
        inputs: (number of a layer in the order of computation, number of its input), all of which get one value.
        levels: how many different values are left.
        shape: of `low` and `high`: empty for one range, (channel, 1, ...) for a range a channel.
        low: the lowest level.
        high: the highest level.
    """

    inputs: Annotated[list[tuple[_Count, _Count]], Field(min_length=1)]
    levels: Annotated[int, Field(ge=2, le=256)]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=6)]
    low: list[float]
    high: list[float]

    @model_validator(mode="after")
    def _check_lengths(self) -> Rounding:
        if len(self.low) != prod(self.shape) or len(self.high) != prod(self.shape):
            raise ValueError(f"expected {prod(self.shape)} lowest and highest levels for the shape {self.shape}")
        return self


class Evidence(Section):
    """What 8 bits cost on the fold's validation cases, which neither weights nor ranges were made from.

    Attributes:
        beside: precision that int8 is compared with: `auto` of the machine.
        tiles: how many tiles of training cases the ranges were found on.
        training_cases: how many cases these tiles are of.
        calibrated_on: their ids; left out of packages.
        validation_cases: how many cases were scored.
        dice_before: mean Dice over cases and structures, in the precision `beside`.
        dice_after: in int8.
        structures: {structure: [before, after]}, the mean over cases; null where no case has it.
        seconds_before: mean seconds of a validation case, from the network's grid to labels, in the precision `beside`.
        seconds_after: in int8, on the same machine.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("calibrated_on",)

    beside: str
    tiles: _Count
    training_cases: _Count
    calibrated_on: list[str] = Field([])
    validation_cases: _Count
    dice_before: float
    dice_after: float
    structures: dict[str, tuple[float | None, float | None]]
    seconds_before: float
    seconds_after: float

    @property
    def loss(self) -> float:
        """How much mean Dice int8 costs; negative where it gains."""
        return round(self.dice_before - self.dice_after, DICE_DIGITS)


class Quantization(Section):
    """How a fold is computed in 8 bits.

    Attributes:
        schema_version: of this file: 2 where weights have 7 bits, of which earlier versions of medseg do not know.
        made: when, in ISO 8601.
        medseg: the version that made it.
        nncf: the version that found the ranges.
        openvino: the version that the evidence was computed with.
        network: identity of the weights that it was made for.
        graph: hash of the kinds of the network's layers, in the order of computation, that `Rounding.inputs` counts.
        careful: whether less is rounded, as rounding all that can be lost too much.
        weight_bits: 8, or 7, with which processors without VNNI compute the same (`int8_weight_bits`).
        evidence: what it costs; None only while that is being found out.
        roundings: what is rounded.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("weight_bits",)

    schema_version: Literal[1, 2]
    made: str
    medseg: str
    nncf: str
    openvino: str
    network: str
    graph: str
    careful: bool
    weight_bits: Literal[7, 8] = 8
    evidence: Evidence | None
    roundings: list[Rounding]

    @model_validator(mode="after")
    def _check_version(self) -> Quantization:
        if self.schema_version == 1 and self.weight_bits != 8:
            raise ValueError("weights of 7 bits came with schema_version 2")
        return self

    @property
    def kept(self) -> bool:
        """Whether it costs no more than `LARGEST_LOSS`, so that it may be used."""
        return self.evidence is None or self.evidence.loss <= LARGEST_LOSS

    def anonymous(self) -> Quantization:
        """Return it without the ids of cases."""
        if self.evidence is None:
            return self
        return self.model_copy(update={"evidence": self.evidence.model_copy(update={"calibrated_on": []})})

    def describe(self) -> str:
        """Return in a line what it costs, what it gains, and whether it is kept."""
        evidence = self.evidence
        if evidence is None:
            return "not tried yet"
        times = evidence.seconds_before / max(evidence.seconds_after, 1e-9)
        bits = "" if self.weight_bits == 8 else " with weights of 7 bits"
        done = "kept" if self.kept else f"not kept, as it loses more than {LARGEST_LOSS}"
        return (
            f"mean Dice {evidence.dice_after:.4f} in int8{bits}, {evidence.dice_before:.4f} in {evidence.beside}, on "
            f"{counted(evidence.validation_cases, 'validation case')}, {times:.2f} times as fast: {done}"
        )


def write_quantization(quantization: Quantization, path: Path) -> None:
    """Write a quantization, atomically."""
    write_text(path, dump_quantization(quantization))


def dump_quantization(quantization: Quantization) -> str:
    """Return a quantization as JSON: a line for each key, and for each rounding."""
    head = quantization.model_copy(update={"roundings": []}).model_dump_json(indent=2)
    lines = ",\n".join(f"    {rounding.model_dump_json()}" for rounding in quantization.roundings)
    body, end = head.rsplit("[]", 1)
    return f"{body}[\n{lines}\n  ]{end}\n" if lines else f"{head}\n"


def read_quantization(path: Path) -> Quantization | None:
    """Return the quantization in a file; None if there is no such file.

    Raises:
        ModelError: it is damaged, or a later version of medseg wrote it.
    """
    content = read_limited(path, MOST_BYTES)
    return None if content is None else parse_quantization(content, str(path))


def parse_quantization(content: bytes, source: str) -> Quantization:
    """Return the quantization that a JSON text holds.

    Args:
        content: of the file.
        source: where it comes from, for messages.

    Raises:
        ModelError: it is none, or a later version of medseg wrote it; the message names the key.
    """
    if len(content) > MOST_BYTES:
        raise ModelError(f"{source} has more than {MOST_BYTES:,} bytes, which no such file has.", _AGAIN)
    try:
        values = parse_json(content)
        version = values.get("schema_version") if isinstance(values, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ModelError(
                f"{source} has schema_version {version}; this medseg reads {SCHEMA_VERSION}.", "Update medseg."
            )
        quantization = Quantization.model_validate(values)
        if quantization.evidence is None:
            raise ModelError(f"{source} has no evidence: nothing says what 8 bits cost.", _AGAIN)
        return quantization
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise ModelError(f"{source} is not valid: {key}: {problem['msg'].lower()}.", _AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source} is not valid JSON: {' '.join(str(error).split())[:300]}", _AGAIN) from None
