"""The plans in `plans/` are what the planner makes of the public sets today."""

import pytest
from paths import ROOT

import medseg

PLANS = ROOT / "plans"
ASKED = {
    "hippocampus": {},
    "nuclei": {"structures": ["nucleus=255"]},
    "cardiac2d": {"structures": ["left_ventricle=255"], "patient_pattern": r"^(SC-[A-Z]+(?:-N?I)?-\d+)"},
    "membrane": {"structures": ["membrane=255"]},
    "brain_tumour": {},
}


@pytest.mark.real
@pytest.mark.parametrize("name", ASKED)
def test_the_planner_still_makes_the_committed_plan(name, data_dir, tmp_path):
    options = medseg.PlanOptions(memory_gb=8, preset="gpu", data=medseg.DataOptions(**ASKED[name]))
    made = medseg.plan(data_dir / name, tmp_path, None, options)
    committed = medseg.load_plan(PLANS / f"{name}.yaml")
    made.plan.data.folder = committed.data.folder
    assert made.plan.model_dump() == committed.model_dump()
    assert made.plan.reasons == committed.reasons
    for suffix in (".cases.csv", ".splits.json"):
        assert (tmp_path / "plans" / (name + suffix)).read_text() == (PLANS / (name + suffix)).read_text()
