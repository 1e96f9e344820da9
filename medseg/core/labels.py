"""Labels: structures by name, their values in files, overlapping regions, the ignore value.

The only place that knows softmax from sigmoid. Inside medseg a label map holds *indices* into
`Labels.values` (0 is background), or `IGNORE`; values as they stand in files appear only when reading and
writing. `Labels.membership` says which of these indices make up each structure.
"""

from __future__ import annotations

from collections.abc import Iterable
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
"""Index of voxels without annotation: no loss and no score there."""

_RANGE = np.iinfo(np.int32)  # the widest type that label maps are written in
_MOST_LOOKED_UP = 1 << 16
_UNDECLARED = -2


class Labels(BaseModel):
    """Which structures there are and how they are stored.

    Attributes:
        structures: name -> value in files, or the values of a region that may overlap with others.
        background: the value of everything else.
        ignore: the value of voxels without annotation.
        activation: softmax where structures exclude each other, sigmoid where they may overlap.
        region_values: for regions, the value written for each structure, painted in this order (nnU-Net's
            `regions_class_order`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    structures: dict[str, int | list[int]] = Field(min_length=1)
    background: int = 0
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
        for name, value in self.written_values.items():
            if value not in self.members[name]:
                raise ValueError(
                    f"region_values writes {name} as {value}, which is none of its own values: "
                    f"{_list([*self.members[name]])}"
                )
        plain = [value for value in self.structures.values() if isinstance(value, int)]
        if self.activation == "softmax" and len({*plain, self.background}) != len(plain) + 1:
            raise ValueError("two structures, or a structure and the background, share one value")
        if self.background in self.values[1:] or self.ignore in self.values:
            raise ValueError("the background or ignore value is also the value of a structure")
        known = self.values if self.ignore is None else (*self.values, self.ignore)
        if min(known) < _RANGE.min or max(known) > _RANGE.max:
            raise ValueError(f"values run from {min(known)} to {max(known)}; expected {_RANGE.min} to {_RANGE.max}")
        return self

    @cached_property
    def members(self) -> dict[str, tuple[int, ...]]:
        """The values that make up each structure, in the order of the network's outputs."""
        members = {name: (value,) if isinstance(value, int) else (*value,) for name, value in self.structures.items()}
        return dict(sorted(members.items(), key=lambda item: item[1])) if self.activation == "softmax" else members

    @property
    def names(self) -> tuple[str, ...]:
        """Structures in the order of the network's outputs."""
        return tuple(self.members)

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Every value that a label file may hold, the background first, without the ignore value."""
        return (self.background, *sorted({value for values in self.members.values() for value in values}))

    @property
    def outputs(self) -> int:
        """Channels of the network's output."""
        return len(self.structures) + (self.activation == "softmax")

    @cached_property
    def membership(self) -> NDArray[np.bool_]:
        """(structures, values): whether a value belongs to a structure, in the order of `names`."""
        return np.array([[value in own for value in self.values] for own in self.members.values()])

    @property
    def written_values(self) -> dict[str, int]:
        """The value that stands for each structure in written label maps."""
        if self.region_values is not None:
            return dict(zip(self.names, self.region_values, strict=True))
        return {name: values[0] for name, values in self.members.items()}

    @property
    def dtype(self) -> type[np.unsignedinteger] | type[np.signedinteger]:
        """Smallest integer type that holds every written value."""
        written = [self.background, *self.written_values.values()]
        fits = (kind for kind in (np.uint8, np.uint16, np.int32) if min(written) >= np.iinfo(kind).min)
        return next(kind for kind in fits if max(written) <= np.iinfo(kind).max)

    def encode(self, array: NDArray, source: str) -> NDArray[np.int16]:
        """Whole-number values as they stand in a file, to indices.

        Raises:
            DataError: a value that is not declared; `source` names the file in the message.
        """
        index_of = {value: index for index, value in enumerate(self.values)}
        if self.ignore is not None:
            index_of[self.ignore] = IGNORE
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if high - low > _MOST_LOOKED_UP:
            present, inverse = np.unique(array, return_inverse=True)
            self.check_values(present.tolist(), source)
            return np.array([index_of[value] for value in present.tolist()], np.int16)[inverse].reshape(array.shape)
        # as long as the range, so that negative values find their places from the end, as Python's indices do
        table = np.full(high - low + 1, _UNDECLARED, np.int16)
        for value, index in index_of.items():
            if low <= value <= high:
                table[value] = index
        indices = table[array]
        if (indices == _UNDECLARED).any():
            self.check_values(np.unique(array).tolist(), source)
        return indices

    def check_values(self, values: Iterable[int], source: str) -> None:
        """Refuse values of a file that are not declared.

        Raises:
            DataError: with the values; `source` names the file in the message.
        """
        declared = {*self.values} if self.ignore is None else {*self.values, self.ignore}
        unknown = sorted({int(value) for value in values} - declared)
        if unknown:
            raise DataError(
                f"{source} holds the label value{'s' if len(unknown) > 1 else ''} {_list(unknown)}, "
                f"which no structure declares; declared are {_list(sorted(declared))}.",
                f"--map {unknown[0]}={self.background} takes this value as another one, --structures NAME="
                f"{unknown[0]} declares it; many values between those declared are a soft mask: --threshold.",
                "unknown label",
            )

    @property
    def decisions(self) -> tuple[int, ...]:
        """What is written for each answer of `choose`: the background, then every structure's value."""
        return (self.background, *self.written_values.values())

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """(outputs, ...) logits to (...) the structure that is written there, counted from 1, or 0 for background.

        Argmax, the first of equals; or, of regions painted in order where logit > 0, the last.
        """
        import torch

        if self.activation == "softmax":
            return logits.max(0).indices  # on a CPU several times faster than argmax
        answer = torch.zeros(logits.shape[1:], dtype=torch.int64, device=logits.device)
        for number, logit in enumerate(logits, start=1):
            answer.masked_fill_(logit > 0, number)
        return answer

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(outputs, ...) logits to (structures, ...) probabilities in the order of `names`, without the background."""
        return logits.softmax(0)[1:] if self.activation == "softmax" else logits.sigmoid()

    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        """(outputs, ...) logits to (...) written values."""
        import torch

        return torch.tensor(self.decisions, device=logits.device)[self.choose(logits)]


def _list(values: list[int], most: int = 12) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")
