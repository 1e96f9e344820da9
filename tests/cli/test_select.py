"""What the terminal says of a selection."""

import pytest

from medseg.cli.select import _postprocessing_phrase
from medseg.selection.record import Gain, Member, Rejected, Selection


@pytest.mark.parametrize(
    ("tried", "said"), [(False, "none"), (True, "none: nothing that was tried improves the answers beyond chance")]
)
def test_what_was_not_tried_is_not_said_to_be_useless(tried: bool, said: str) -> None:
    """Where nothing is listed, nothing was tried, or nothing that was tried changed an answer."""
    gain = Gain(difference=0.0, low=None, high=None, structures={}, cases=3)
    rejected = [Rejected(what="holes filled", evidence=gain, reason="no gain")] if tried else []
    member = Member(configuration="2d", folds=["0"], records={"0": "a" * 64})
    selection = Selection(plan="toy", medseg="0", made="now", members=[member], rejected=rejected)
    assert _postprocessing_phrase(selection) == said
