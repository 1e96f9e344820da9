"""A plan without what tells whose data it was made for, and where they lie."""

from __future__ import annotations

from copy import deepcopy
from pathlib import PureWindowsPath

from medseg.plans.schema import Plan


def anonymous(plan: Plan) -> Plan:
    """Return the plan without the folder of its data, the options of the user, and folders of files that they named.

    Packages hold it, and what identifies a model is computed from it: none of this changes an answer.
    """
    request = plan.request.model_copy(update={"options": {}})
    configurations = deepcopy(plan.configurations)
    for values in configurations.values():
        network = values.get("network")
        if isinstance(network, dict) and network.get("weights"):
            network["weights"] = PureWindowsPath(network["weights"]).name  # which takes both kinds of slashes
    data = plan.data.model_copy(update={"folder": "."})
    return plan.model_copy(update={"data": data, "request": request, "configurations": configurations})
