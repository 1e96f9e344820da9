"""The record of a selection: the models that answer together, the postprocessing of answers, and the evidence.

It lies beside the runs of a plan (`runs/PLAN/selection.yaml`) and in packages. `file` reads and writes it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from medseg.confidence.calibration import Calibration
from medseg.confidence.quality import Quality
from medseg.plans.sections.inference import Inference
from medseg.plans.sections.section import Fraction, NonNegative, Section
from medseg.plans.sections.trained_folds import TrainedFolds

FORMAT: Literal["medseg selection"] = "medseg selection"
SCHEMA_VERSION = 1
"""Version of the file format that this medseg writes; newer ones are refused."""

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Operation = Literal["largest_component", "minimum_size", "fill_holes", "position"]
Unit = Literal["ml", "mm2", "voxels"]


class Averaging(Section):
    """How the sliding window averaged the answers of a configuration that temperatures, thresholds and flags fit.

    Other settings give probabilities that are more or less sure: keys as in a plan's section `inference`.

    Attributes:
        step_fraction: largest step from tile to tile, as a share of the tile.
        gaussian_sigma_fraction: standard deviation of the weight around a tile's centre, as a share of the tile.
        mirror: whether mirrored copies were averaged.
        skip_empty_tiles: whether tiles in which nothing varies were computed once for each intensity.
    """

    step_fraction: Fraction
    gaussian_sigma_fraction: NonNegative
    mirror: bool
    skip_empty_tiles: bool

    @classmethod
    def of(cls, inference: Inference) -> Averaging:
        """Return the settings of a plan.

        Args:
            inference: section of the plan.
        """
        return cls(**{key: getattr(inference, key) for key in cls.model_fields})

    def differences(self, inference: Inference) -> dict[str, tuple[Any, Any]]:
        """Return {key: setting here, setting there} of those that a plan has otherwise.

        Args:
            inference: section of the plan.
        """
        other = Averaging.of(inference)
        pairs = {key: (getattr(self, key), getattr(other, key)) for key in Averaging.model_fields}
        return {key: (before, now) for key, (before, now) in pairs.items() if before != now}


class Member(TrainedFolds):
    """A configuration whose folds answer together.

    Attributes:
        records: {fold: SHA-256 of its run.json when the selection was made}, so that a fold that was trained again is
            noticed; empty where that is not known.
        averaging: how its out-of-fold answers were averaged; None where that is not known.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("records", "averaging")

    records: dict[str, _Sha256] = {}
    averaging: Averaging | None = None


class Gain(Section):
    """A difference of the measure between two ways to answer the same cases, so that more is better.

    Attributes:
        difference: mean over structures of the mean over cases.
        low: lower bound of its interval (`medseg.evaluation.statistics.METHOD`); None with fewer than three patients.
        high: upper bound, likewise.
        structures: {structure: mean difference over cases}; None where it is not defined.
        cases: number of cases.
    """

    difference: float
    low: float | None
    high: float | None
    structures: dict[str, float | None] = {}
    cases: Annotated[int, Field(ge=0)]


class Candidate(Section):
    """One way to answer that was compared.

    Attributes:
        configurations: whose probabilities are averaged.
        score: mean of the measure over structures of the mean over out-of-fold cases.
        low: lower bound of its interval.
        high: upper bound.
        structures: {structure: mean over cases}.
        seconds: of prediction for a case, mean: measured for one fold, times the folds that answer together.
        behind_best: how far it is behind the best candidate, so that 0 is as good, and less is worse; None for the
            best.
        distinguishable: whether it is worse than the best beyond chance: the interval does not reach 0.
    """

    configurations: Annotated[list[str], Field(min_length=1)]
    score: float | None
    low: float | None = None
    high: float | None = None
    structures: dict[str, float | None] = {}
    seconds: NonNegative
    behind_best: Gain | None = None
    distinguishable: bool = False


class Evidence(Section):
    """Why the members were chosen.

    Attributes:
        measure: name of the measure that decides.
        cases: number of out-of-fold cases.
        patients: number of patients that they are of.
        candidates: what was compared, in the order of their scores.
        reason: the choice in a sentence.
    """

    measure: str
    cases: Annotated[int, Field(ge=0)]
    patients: Annotated[int, Field(ge=0)]
    candidates: list[Candidate]
    reason: str


class Step(Section):
    """An operation on answers; `operations` says what each does.

    Attributes:
        operation: its name.
        structures: it works on the voxels of these together.
        size: with `minimum_size`: components smaller than this are removed.
        unit: of `size`: ml, mm2 in 2D, voxels where spacings are unknown.
        range: with `position`: where from the patient's left to right the middle of a component may lie, from 0 (left
            border of the scan's content) to 1 (right border).
        to_background: whether removed voxels become background even where they lie in another region as well, as in
            nnU-Net.
        evidence: what it gained on out-of-fold answers; None where it came with an imported model.
        source: the file that it was read from, for one that was imported.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("size", "unit", "range", "to_background", "evidence", "source")

    operation: Operation
    structures: Annotated[list[str], Field(min_length=1)]
    size: NonNegative | None = None
    unit: Unit | None = None
    range: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None
    to_background: bool = False
    evidence: Gain | None = None
    source: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Step:
        if (self.operation == "minimum_size") != (self.size is not None and self.unit is not None):
            raise ValueError("size and unit go with minimum_size, and it needs both")
        if (self.operation == "position") != (self.range is not None):
            raise ValueError("range goes with position, and it needs one")
        return self

    def describe(self) -> str:
        """Return the step in words."""
        names = " and ".join(self.structures) if len(self.structures) < 4 else f"{len(self.structures)} structures"
        match self.operation:
            case "largest_component":
                return f"largest component of {names}{' together' * (len(self.structures) > 1)}"
            case "minimum_size":
                return f"components of {names} of at least {self.size:g} {self.unit}"
            case "fill_holes":
                return f"holes of {names} filled"
            case _:
                low, high = self.range or (0.0, 1.0)
                return f"components of {names} between {low:g} and {high:g} from left to right"


class Threshold(Section):
    """The probability above which a region is answered.

    Attributes:
        value: the probability, before any calibration.
        evidence: what it gained over 0.5 on out-of-fold answers.
    """

    value: Annotated[float, Field(gt=0, lt=1)]
    evidence: Gain | None = None


class Rejected(Section):
    """What was tried on out-of-fold answers and not kept.

    Attributes:
        what: in words.
        evidence: what it gained, or cost.
        reason: why it was not kept.
    """

    what: str
    evidence: Gain
    reason: str


class Selection(Section):
    """A selection.

    Attributes:
        format: always "medseg selection".
        schema_version: of this file.
        plan: name of the plan.
        medseg: version that wrote it.
        made: when, as an ISO date and time.
        members: which models answer; the probabilities of several are averaged on the grid of the scan, with equal
            weights.
        evidence: why these; None for a selection that was imported.
        postprocessing: the operations on answers, in this order.
        thresholds: {region: probability above which it is answered}; 0.5 for the others.
        rejected: what was tried and not kept.
        calibration: what makes the probabilities mean what they say; None for those of the networks.
        quality: what the quality of answers is judged by; None where they are not judged.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("rejected", "calibration", "quality")

    format: Literal["medseg selection"] = FORMAT
    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    plan: str
    medseg: str
    made: str
    members: Annotated[list[Member], Field(min_length=1, max_length=16)]
    evidence: Evidence | None = None
    postprocessing: list[Step] = []
    thresholds: dict[str, Threshold] = {}
    rejected: list[Rejected] = []
    calibration: Calibration | None = None
    quality: Quality | None = None

    @model_validator(mode="before")
    @classmethod
    def _move_averaging(cls, values: Any) -> Any:
        """Read what files had before each member had its own: that of the first one."""
        if not isinstance(values, dict) or "averaging" not in values:
            return values
        averaging, members = values["averaging"], values.get("members")
        values = {key: value for key, value in values.items() if key != "averaging"}
        if isinstance(members, list) and members and isinstance(members[0], dict):
            values["members"] = [{"averaging": averaging, **members[0]}, *members[1:]]
        return values

    @field_validator("members")
    @classmethod
    def _check_members(cls, members: list[Member]) -> list[Member]:
        names = [member.configuration for member in members]
        if len({*names}) != len(names):
            raise ValueError("a configuration is named twice")
        return members

    @property
    def title(self) -> str:
        """The members in words: `2d + 3d_fullres (folds 0, 1, 2)`."""
        parts = [f"{member.configuration} (folds {', '.join(member.folds)})" for member in self.members]
        if len({tuple(member.folds) for member in self.members}) == 1:
            names = " + ".join(member.configuration for member in self.members)
            return f"{names} (folds {', '.join(self.members[0].folds)})"
        return " + ".join(parts)

    def describe(self) -> list[str]:
        """Return the postprocessing in words; [] where answers stay as they are."""
        steps = [step.describe() for step in self.postprocessing]
        return steps + [f"{name} above a probability of {at.value:g}" for name, at in self.thresholds.items()]
