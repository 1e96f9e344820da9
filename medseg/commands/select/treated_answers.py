"""Out-of-fold answers of the chosen candidate after postprocessing and thresholds.

The postprocessing of a case was chosen without its fold (`Search.treatment_without`): else figures on treated answers
would be those of cases that their treatment was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from numpy.typing import NDArray

from medseg.commands.select.kept_answers import Candidate, KeptCase
from medseg.commands.select.search import Treatment
from medseg.core.errors import MedsegError
from medseg.core.machine.parallel import map_cases
from medseg.core.progress import Callback, track

R = TypeVar("R")


@dataclass(frozen=True)
class TreatedAnswers:
    """The postprocessed answers of a candidate.

    Attributes:
        candidate: the candidate that gave the answers.
        cases: the cases whose answers were kept.
        treatments: {case: what is done to its answer, chosen without its fold}.
        callback: receives progress.
    """

    candidate: Candidate
    cases: Sequence[KeptCase]
    treatments: Mapping[str, Treatment]
    callback: Callback

    def measure(
        self, function: Callable[[KeptCase, NDArray, NDArray], R], stage: str, wanted: Collection[str]
    ) -> dict[str, R]:
        """Return {case: result of a function}, for the cases that postprocessing may change.

        Args:
            function: takes the case, and on its grid (z, y, x) the label indices of its reference and the label values
                of its treated answer; several cases at once.
            stage: the name of the stage in the progress.
            wanted: ids of the cases that it is for.

        Raises:
            MedsegError: an answer cannot be treated or measured.
        """
        treated = [case for case in self.cases if case.case.id in wanted and self.treatments[case.case.id].changes]

        def measured(case: KeptCase) -> R:
            reference, [answer] = case.read([self.candidate])
            return function(case, reference, self.treatments[case.case.id].values(answer))

        results = {}
        for case, result in track(map_cases(measured, treated), stage, len(treated), self.callback):
            if isinstance(result, MedsegError):
                raise result
            results[case.case.id] = result
        return results
