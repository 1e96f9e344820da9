"""Names of structures that differ only in left and right, and vertebrae, which do not."""

from __future__ import annotations

import pytest

from medseg.core.sides import sided_pair

THORACIC_AND_LUMBAR = ["T11", "T12", "L1", "L2"]


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["kidney_left", "kidney_right"], ("kidney_left", "kidney_right")),
        (["RKidney", "LKidney"], ("LKidney", "RKidney")),
        (["rib_L1", "rib_R1"], ("rib_L1", "rib_R1")),
        (["L1", "R1"], ("L1", "R1")),  # nothing says that these are vertebrae; sides are the safer guess
        ([*THORACIC_AND_LUMBAR, "R1"], None),
        (["vertebra_Th12", "vertebra_L1", "vertebra_R1"], None),
        (["L5", "S1", "R5"], None),
        (["T1", "L1", "R1"], ("L1", "R1")),  # may be a tumour
        ([*THORACIC_AND_LUMBAR, "kidney_L", "kidney_R", "R1"], ("kidney_L", "kidney_R")),
        ([*THORACIC_AND_LUMBAR, "rib_left_1", "rib_right_1"], ("rib_left_1", "rib_right_1")),
        (["T12", *(f"{side}{rib}" for side in "LR" for rib in range(1, 13))], ("L1", "R1")),  # ribs: there is no L7
    ],
)
def test_pairs_of_sides(names: list[str], pair: tuple[str, str] | None) -> None:
    assert sided_pair(names) == pair
