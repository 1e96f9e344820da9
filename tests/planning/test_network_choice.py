"""A network that a user names, in place of the one that the rules chose."""

from typing import Any

import pytest
from builders import configuration_values, plan_values

from medseg.core.errors import PlanError
from medseg.planning.network_choice import choose_network
from medseg.plans.file import validate_plan
from medseg.plans.network_rules import ONLY_2D


def both() -> dict[str, Any]:
    """The values of a plan for volumes, which has a 2D configuration, too."""
    configurations = {
        "2d": configuration_values(2, patch_voxels=[128, 128], batch_size=2),
        "3d_fullres": configuration_values(3, patch_voxels=[32, 32, 32]),
    }
    return plan_values(3, configurations=configurations, default_configuration="3d_fullres")


@pytest.mark.parametrize("name", ONLY_2D)
def test_a_network_that_takes_no_volumes_goes_to_the_2d_configuration(name: str) -> None:
    values, reasons = both(), {}
    choose_network(values, reasons, name)
    plan = validate_plan(values, reasons, "the plan")
    assert plan.default_configuration == "2d"
    assert reasons["default_configuration"] == f"{name} is a 2D network"
    assert plan.configuration("2d").network.name == name
    assert plan.configuration("3d_fullres").network.name == "plain_unet"


def test_any_other_goes_to_all() -> None:
    values, reasons = both(), {}
    choose_network(values, reasons, "erfnet")
    plan = validate_plan(values, reasons, "the plan")
    assert {plan.configuration(name).network.name for name in ("2d", "3d_fullres")} == {"erfnet"}
    assert plan.default_configuration == "3d_fullres"


@pytest.mark.parametrize("name", ONLY_2D)
def test_without_a_2d_configuration_it_is_refused(name: str) -> None:
    values = both()
    del values["configurations"]["2d"]
    with pytest.raises(PlanError, match=f"{name} takes 2D images, and this plan has no 2D configuration"):
        choose_network(values, {}, name)
