"""Judge answers while they are made, where the model's selection says by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.core.errors import MedsegError
from medseg.core.image import Image
from medseg.inference.predictor import Predictor
from medseg.inference.volumes import size_unit
from medseg.preprocessing.volume import Volume

if TYPE_CHECKING:
    from medseg.confidence.assessment import Assessment
    from medseg.inference.observation import Observation


@dataclass(frozen=True)
class Judge:
    """Watches an answer being computed, and judges it; one that has nothing to judge by does nothing.

    Attributes:
        predictor: computes the answer.
        volume: the prepared scan.
        observations: what it watches with; none where there is nothing to judge by.
    """

    predictor: Predictor
    volume: Volume
    observations: Sequence[Observation] = ()

    @classmethod
    def of(cls, predictor: Predictor, volume: Volume) -> Judge:
        """Return a judge for the answer to a prepared scan.

        Args:
            predictor: will compute the answer.
            volume: the prepared scan.
        """
        selection = predictor.model.selection
        if selection is None or selection.quality is None:
            return cls(predictor, volume)
        return cls(predictor, volume, tuple(predictor.observe(volume)))

    def entry(self, answer: Image) -> dict[str, Any]:
        """Return `{"quality": ...}`, what the manifest says of an answer; empty where there is nothing to judge by.

        Where judging fails, the answer stays: `{"warnings": ...}` are those of the scan, and why it is not judged.

        Args:
            answer: label map (1, z, y, x) on the grid of the scan.
        """
        selection = self.predictor.model.selection
        if not self.observations or selection is None or selection.quality is None:
            return {}
        from medseg.confidence.assessment import assess

        deep = selection.quality.reference.deep
        deep_folds = () if deep is None else (deep.fold,)
        try:
            measures = self.predictor.measures(self.volume, self.observations, answer, deep_folds)
        except MedsegError as error:
            return {"warnings": [*self.volume.warnings, f"The answer has no predicted Dice and no flags: {error}"]}
        unit = size_unit(answer, self.predictor.model.plan.data.dimensions)
        return {"quality": assess(measures, selection.quality, unit).to_json()}


def doubts(warnings: Sequence[str], assessment: Assessment | None) -> list[str]:
    """Return what speaks against an answer: the warnings on its scan, then the flags of the answer itself.

    Args:
        warnings: how the scan differs from the training scans, in sentences.
        assessment: of the answer; None where answers are not judged.
    """
    flags = () if assessment is None else assessment.flags
    return [*warnings, *(f"{flag.kind}: {flag.text}" for flag in flags)]


def assessment_in(about: Mapping[str, Any]) -> Assessment | None:
    """Return the assessment of an answer from its entry in the manifest; None if the entry has none.

    Args:
        about: of the answer.
    """
    if "quality" not in about:
        return None
    from medseg.confidence.assessment import Assessment

    return Assessment.from_json(about["quality"])
