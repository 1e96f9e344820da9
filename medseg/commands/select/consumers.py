"""Add-ons of `medseg select`: each collects data in the pass over cases, and adds a part to `selection.yaml`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from medseg.commands.select.confidence import CalibrationConsumer, QualityConsumer
from medseg.commands.select.kept_answers import Candidate
from medseg.commands.select.treated_answers import TreatedAnswers
from medseg.delivery.pages.page import Section
from medseg.out_of_fold.case import OutOfFoldCase
from medseg.plans.schema import Plan
from medseg.selection.record import Selection


class Consumer(Protocol):
    """An add-on: it collects data from each case in the pass, and adds its part to the selection at the end."""

    def add(self, case: OutOfFoldCase) -> None:
        """Collect what is needed from a case, for every candidate, as the choice is made after the pass.

        Raises:
            MedsegError: nothing can be made of this case, which then counts for scores alone; a note names it.
        """

    def finish(self, treated: TreatedAnswers, selection: Selection) -> Selection:
        """Return the selection with what this consumer adds.

        Args:
            treated: the answers of the candidate that was chosen, after postprocessing and thresholds.
            selection: with members, evidence, postprocessing and thresholds.

        Raises:
            MedsegError: an answer cannot be measured.
        """

    def section(self) -> Section | None:
        """Return the section that the add-on has on the selection's page; None if it has none."""


CONSUMERS: Sequence[Callable[[Plan, Sequence[Candidate]], Consumer]] = (CalibrationConsumer, QualityConsumer)
"""Makers of consumers: each is called with the plan and the candidates before the pass."""
