"""`Labels`: the structures by name, their values in files, overlapping regions, and the ignore value.

This is the only module that tells softmax from sigmoid. Inside medseg a label map holds *indices* into `Labels.values`
(0 is the background; where labels have none, only what lies beyond an image), or `IGNORE`; the values of files appear
only when reading and writing. `Labels.membership` says which indices make up each structure.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from medseg.core.errors import DataError
from medseg.core.wording import counted

if TYPE_CHECKING:
    import torch

IGNORE = -1
"""Index of voxels without annotation: they count in neither loss nor scores."""
NO_BACKGROUND = -(2**31)
"""Stands in `Labels.values` where labels have no background; no label file holds it."""
OUTSIDE = -2
"""Index of background voxels outside the nonzero mask, in channels normalized within it."""

VALUE_RANGE = np.iinfo(np.int32)  # the widest type that label maps are written in
_LONGEST_TABLE = 1 << 16
"""Values that spread further than this are looked up by sorting, so that one stray value claims no gigabytes."""
_CHUNK_VOXELS = 1 << 16
"""Voxels looked up at a time: they stay in the processor's cache."""
_UNDECLARED = -2
_ALMOST_NOTHING = 1e-7
"""Probabilities of regions closer to 0 or 1 than this are taken for so close: float32 tells no closer to 1."""
_MOST_VALUES_NAMED = 12
_MOST_STRAY_VALUES = 8
"""More values that nothing declares are no stray ones: the file is a soft mask, or of another data set."""


class Labels(BaseModel):
    """Which structures there are and how files store them.

    Attributes:
        structures: name -> its value in files, or the list of values of a region that may overlap with others.
        background: the value of everything else; None if every voxel belongs to a structure, so that 0 may be one, as
            in scenes of a street. Networks then still have an output 0, which nothing but the space beyond an image
            belongs to; it is never answered.
        ignore: the value of voxels without annotation; None if there are none.
        activation: `softmax` if structures exclude each other, `sigmoid` if they may overlap.
        region_values: the value written for each structure, in the order in which they are painted over each other
            (nnU-Net's `regions_class_order`); needed for regions, None otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    structures: dict[str, int | list[int]] = Field(min_length=1)
    background: int | None = 0
    ignore: int | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"
    region_values: list[int] | None = None

    @model_validator(mode="after")
    def _check(self) -> Labels:
        regions = [name for name, value in self.structures.items() if isinstance(value, list)]
        if regions and self.activation == "softmax":
            raise ValueError(f"{regions[0]} is a region of several values, which needs activation: sigmoid")
        if regions and self.region_values is None:
            raise ValueError("regions need region_values: the value to write for each structure, in painting order")
        if self.region_values is not None and len(self.region_values) != len(self.structures):
            raise ValueError(
                f"region_values has {counted(len(self.region_values), 'entry')} for "
                f"{counted(len(self.structures), 'structure')}"
            )
        if self.background is None and self.activation == "sigmoid":
            raise ValueError("background: null is for structures that exclude each other, which have softmax")
        plain = [value for value in self.structures.values() if isinstance(value, int)]
        if self.activation == "softmax" and len({*plain, self.values[0]}) != len(plain) + 1:
            raise ValueError("two structures, or a structure and the background, share one value")
        if self.values[0] in self.values[1:] or self.ignore in self.values:
            raise ValueError("the background or ignore value is also the value of a structure")
        known = [value for value in (self.background, *self.values[1:], self.ignore) if value is not None]
        if min(known) < VALUE_RANGE.min or max(known) > VALUE_RANGE.max:
            raise ValueError(
                f"values run from {min(known)} to {max(known)}; expected {VALUE_RANGE.min} to {VALUE_RANGE.max}"
            )
        return self

    @cached_property
    def members(self) -> dict[str, tuple[int, ...]]:
        """Structure -> the values that make it up, in the order of the network's outputs.

        With softmax that order is by value, as in nnU-Net; with sigmoid it is the order of `structures`.
        """
        members = {name: (value,) if isinstance(value, int) else (*value,) for name, value in self.structures.items()}
        return dict(sorted(members.items(), key=lambda item: item[1])) if self.activation == "softmax" else members

    @property
    def names(self) -> tuple[str, ...]:
        """Structures in the order of the network's outputs."""
        return tuple(self.members)

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Every value that a label file may hold but the ignore value; the background, or `NO_BACKGROUND`, is first."""
        first = NO_BACKGROUND if self.background is None else self.background
        return (first, *sorted({value for values in self.members.values() for value in values}))

    @property
    def outputs(self) -> int:
        """Number of channels of the network's output: one a structure, and with softmax one more for none of them."""
        return len(self.structures) + (self.activation == "softmax")

    @cached_property
    def membership(self) -> NDArray[np.bool_]:
        """(structures, values): whether each of `values` belongs to each structure, in the order of `names`."""
        return np.array([[value in members for value in self.values] for members in self.members.values()])

    @property
    def written_values(self) -> dict[str, int]:
        """Structure -> the value that is written for it in predicted label maps."""
        if self.region_values is not None:
            return dict(zip(self.names, self.region_values, strict=True))
        return {name: values[0] for name, values in self.members.items()}

    @property
    def foreign_values(self) -> tuple[str, ...]:
        """Notes on odd `region_values`: structures that are written as a value that they do not have in labels."""
        return tuple(
            f"writes {name} as {value}, which is none of its own values: {_shorten([*self.members[name]])}"
            for name, value in self.written_values.items()
            if value not in self.members[name]
        )

    @property
    def dtype(self) -> type[np.unsignedinteger] | type[np.signedinteger]:
        """Smallest of uint8, uint16 and int32 that holds every written value."""
        written = self.decisions
        fitting = (kind for kind in (np.uint8, np.uint16, np.int32) if min(written) >= np.iinfo(kind).min)
        return next(kind for kind in fitting if max(written) <= np.iinfo(kind).max)

    def encode(self, array: NDArray, source: str) -> NDArray[np.int16]:
        """Return the indices of the values of a label file.

        Args:
            array: integers of any shape, as stored in the file.
            source: name of the file, for the message.

        Returns:
            An array of the same shape: indices into `values`, or `IGNORE`.

        Raises:
            DataError: there is a value that is not declared.
        """
        index_of = {value: index for index, value in enumerate(self.values) if value != NO_BACKGROUND}
        if self.ignore is not None:
            index_of[self.ignore] = IGNORE
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if high - low > _LONGEST_TABLE:
            present, inverse = np.unique(array, return_inverse=True)
            self.check_values(present.tolist(), source)
            return np.array([index_of[value] for value in present.tolist()], np.int16)[inverse].reshape(array.shape)
        # The range includes 0, and the table is as long as it, so that a negative value, as a negative index, counts
        # from the end and finds its own entry: no shifted copy of the array is needed.
        table = np.full(high - low + 1, _UNDECLARED, np.int16)
        for value, index in index_of.items():
            if low <= value <= high:
                table[value] = index
        values, indices = array.ravel(), np.empty(array.shape, np.int16)
        flat = indices.ravel()
        for start in range(0, values.size, _CHUNK_VOXELS):
            chunk = values[start : start + _CHUNK_VOXELS].astype(np.intp, casting="same_kind")
            np.take(table, chunk, mode="wrap", out=flat[start : start + _CHUNK_VOXELS])  # as indices below 0 count
        if indices.min(initial=0) == _UNDECLARED:
            self.check_values(np.unique(array).tolist(), source)
        return indices

    def check_values(self, values: Iterable[int], source: str) -> None:
        """Refuse values that no structure declares.

        Args:
            values: the values that occur in a label file.
            source: name of the file, for the message.

        Raises:
            DataError: there are such values; the message names them.
        """
        unknown = self.undeclared(values)
        if unknown:
            known = (*self.values, NO_BACKGROUND if self.ignore is None else self.ignore)
            declared = sorted({*known} - {NO_BACKGROUND})
            raise DataError(
                f"{source} holds the label value{'s' if len(unknown) > 1 else ''} {_shorten(unknown)}, "
                f"which no structure declares; declared are {_shorten(declared)}.",
                self._how_to_declare(unknown),
                "unknown label",
            )

    def undeclared(self, values: Iterable[int]) -> list[int]:
        """Return those of the values that no structure declares, sorted."""
        return sorted({int(value) for value in values} - ({*self.values, self.ignore} - {NO_BACKGROUND}))

    def _how_to_declare(self, undeclared: Sequence[int]) -> str:
        """Return the options of `medseg plan` that read values that no structure declares."""
        if many_values(undeclared):
            return soft_mask_hint(undeclared, "--threshold")
        them = "it" if len(undeclared) == 1 else "them"
        if self.background is None:
            target = 255 if self.ignore is None else self.ignore
            maps = " ".join(f"--map {value}={target}" for value in undeclared if value != target)
            hint = f"{maps} --ignore {target} ignores {them}: these labels have no background.".lstrip()
        else:
            maps = " ".join(f"--map {value}={self.background}" for value in undeclared)
            hint = f"{maps} reads {them} as background."
        declared = {name: values[0] for name, values in self.members.items() if len(values) == 1}
        if len(declared) < len(self.structures) or many_values(declared):
            return hint
        # --structures replaces what is declared, so all of them have to be named
        pairs = [*declared.items(), *(("NAME", value) for value in undeclared)]
        named = " ".join("--structures " + shlex.quote(f"{name}={value}") for name, value in pairs)
        return f"{hint} {named} declares {them}."

    @property
    def decisions(self) -> tuple[int, ...]:
        """The value to write for each index that `choose` returns: the background's, then each structure's.

        Without a background, `choose` never returns 0; its place has the value of the first structure.
        """
        values = tuple(self.written_values.values())
        return (values[0] if self.background is None else self.background, *values)

    def unlabelled_value(self, source: str) -> int:
        """Return the value for voxels of which a label file says nothing: the ignore value, else the background.

        Args:
            source: the file, for the message.

        Raises:
            DataError: there is neither.
        """
        value = self.background if self.ignore is None else self.ignore
        if value is None:
            raise DataError(
                f"{source} does not cover its whole scan, and these labels have neither a background nor an ignore "
                "value.",
                "Name a value for voxels without annotation: --ignore 255.",
            )
        return value

    @property
    def first_answer(self) -> int:
        """The first output of a softmax network that may be answered: 1 where labels have no background, else 0."""
        return int(self.background is None)

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """Return which structure each voxel is decided to be.

        Args:
            logits: (outputs, ...), as the network puts them out.

        Returns:
            (...) integers: 0 for the background, 1 for the first of `names`, and so on. With softmax it is the largest
            logit, the first of equals, and never 0 where labels have no background; with sigmoid the last structure
            with a logit above 0, as nnU-Net paints regions over each other.
        """
        import torch

        if self.activation == "softmax":
            if self.background is None:
                return logits[1:].max(0).indices + 1
            return logits.max(0).indices  # the same as argmax, and on a CPU several times faster
        answer = torch.zeros(logits.shape[1:], dtype=torch.int64, device=logits.device)
        for number, logit in enumerate(logits, start=1):
            answer.masked_fill_(logit > 0, number)
        return answer

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the probability of each structure.

        Args:
            logits: (outputs, ...), as the network puts them out.

        Returns:
            (structures, ...) in the order of `names`, without the background.
        """
        if self.activation == "sigmoid":
            return logits.sigmoid()
        return logits[1:].softmax(0) if self.background is None else logits.softmax(0)[1:]

    def all_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the probability of each output of the network, the background's included.

        Args:
            logits: (outputs, ...), as the network puts them out.

        Returns:
            (outputs, ...); without a background, that of output 0 is 0.
        """
        if self.activation == "sigmoid":
            return logits.sigmoid()
        import torch

        chosen = logits[self.first_answer :].softmax(0)
        return torch.cat([torch.zeros_like(chosen[:1]), chosen]) if self.first_answer else chosen

    def logits_of(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return logits that have given probabilities: the inverse of `all_probabilities`, in float32.

        Args:
            probabilities: (outputs, ...).
        """
        values = probabilities.float()
        if self.activation == "sigmoid":
            return values.logit(_ALMOST_NOTHING)
        return values.clamp(min=_ALMOST_NOTHING**4).log()

    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the values to write for a network's (outputs, ...) logits, as an array of shape (...)."""
        import torch

        return torch.tensor(self.decisions, device=logits.device)[self.choose(logits)]


def many_values(values: Collection[object]) -> bool:
    """Return whether these are too many values to be stray ones in a label file."""
    return len(values) > _MOST_STRAY_VALUES


def soft_mask_hint(values: Sequence[int], option: str) -> str:
    """Return what to do about a file of many values, which is a soft mask or the wrong file.

    Args:
        values: those that nothing declares, sorted.
        option: what a threshold for this file is called on the command line.
    """
    middle = (max(values[-1], 1) + 1) // 2
    return (
        f"If it is a soft mask, {option} {middle} takes what is at least that as the structure; else it is of "
        "another data set."
    )


def _shorten(values: list[int]) -> str:
    """Return the first values of a list and how many more there are."""
    more = len(values) - _MOST_VALUES_NAMED
    return ", ".join(map(str, values[:_MOST_VALUES_NAMED])) + (f" and {more} more" if more > 0 else "")
