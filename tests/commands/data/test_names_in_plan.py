"""What a plan names is looked up, except what the planner chooses itself, which always exists and fits."""

import pytest
from builders import make_plan

from medseg.commands.data.names_in_plan import check_names
from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.networks.table import find_network
from medseg.plans.network_rules import UNETS
from medseg.plans.sections.losses import DEFAULT_LOSS
from medseg.training.losses.table import LOSSES, make_loss


def changed(**training):
    plan = make_plan()
    return plan.model_copy(
        update={"training": plan.training.model_validate({**plan.training.model_dump(), **training})}
    )


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("no_such", "no such loss"),
        ({"name": DEFAULT_LOSS, "gamma": 2}, "do not fit"),
        ({"sum": ["no_such"]}, "no_such"),
    ],
)
def test_a_loss_that_does_not_exist_or_fit_is_refused(loss, message):
    with pytest.raises(PlanError, match=message):
        check_names(changed(loss=loss))


def test_a_network_that_does_not_exist_is_refused():
    plan = make_plan()
    plan.configurations[plan.default_configuration]["network"]["name"] = "no_such"
    with pytest.raises(PlanError, match="no network 'no_such'"):
        check_names(plan)


def test_what_is_not_looked_up_exists_and_takes_everything():
    plan = make_plan()
    check_names(plan)
    for name in UNETS:
        configuration = plan.configuration(plan.default_configuration)
        find_network(
            configuration.model_copy(update={"network": configuration.network.model_copy(update={"name": name})})
        )
    assert DEFAULT_LOSS in LOSSES
    for labels in (
        Labels(structures={"a": 1, "b": 2}, ignore=3),
        Labels(structures={"a": [1, 2], "b": 2}, activation="sigmoid", region_values=[1, 2]),
    ):
        weights = [1.0] * labels.outputs
        make_loss(plan.training, labels, False, partly_labelled=True, class_weights=weights, voxel_weights=True)
