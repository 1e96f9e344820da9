"""Weights of structures in the loss, as the plan names them or by how rare each structure is."""

from __future__ import annotations

from medseg.core.errors import PlanError
from medseg.plans.schema import Plan
from medseg.plans.sections.losses import BACKGROUND


def class_weights(plan: Plan) -> list[float] | None:
    """Return the weight of each output of the network; None where the plan weighs all alike.

    `inverse_frequency` is V / (K V_c), as scikit-learn's "balanced" has it: V_c is the volume of structure c over all
    training scans, V that of all scans, and K the number of classes. The background, if there is one, has what is left
    of V. A structure that occurs nowhere has the largest weight of the others.

    Args:
        plan: has the weights, the structures, and the volumes that were found when it was made.

    Raises:
        PlanError: the weights are to follow from volumes, and the plan does not have them.
    """
    chosen, labels = plan.training.class_weights, plan.labels
    if chosen is None:
        return None
    outputs = [
        *([BACKGROUND] if labels.activation == "softmax" and labels.background is not None else []),
        *labels.names,
    ]
    # without a background, output 0 stands for what lies beyond an image, of which no volume is known: it counts once
    beyond = [1.0] * (labels.outputs - len(outputs))
    if isinstance(chosen, dict):
        return [*beyond, *(chosen.get(name, 1.0) for name in outputs)]
    data = plan.data
    if data.scan_volume is None or any(name not in data.structure_volume for name in labels.names):
        raise PlanError(
            "training.class_weights is inverse_frequency, and the plan does not say how large structures and scans "
            "are.",
            "Make the plan again (`medseg plan --force`), or give numbers: "
            f"training.class_weights={{{', '.join(f'{name}: 1' for name in outputs)}}}.",
        )
    total = data.scan_volume * data.cases
    volumes = {name: data.structure_volume[name] * data.structure_cases.get(name, 0) for name in labels.names}
    volumes[BACKGROUND] = max(total - sum(volumes.values()), 0.0)
    weights = {name: total / (len(outputs) * volumes[name]) for name in outputs if volumes[name] > 0}
    return [*beyond, *(weights.get(name, max(weights.values(), default=1.0)) for name in outputs)]
