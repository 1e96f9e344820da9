"""Where int8 is asked for and cannot be computed, the message says why and what to do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import make_plan

from medseg.core.errors import ModelError, PlanError
from medseg.inference.backends.int8 import check_computes_int8, check_int8
from medseg.inference.predictor import Predictor
from medseg.models.identity import network_identity
from medseg.models.model import Model, make_network
from medseg.models.quantization import Evidence, Quantization
from medseg.networks.device import int8_weight_bits

CPU = torch.device("cpu")
x86 = pytest.mark.skipif(int8_weight_bits() is None, reason="this is no x86 processor")


def some_model(precision: str = "int8") -> Model:
    plan = make_plan(2)
    plan = plan.model_copy(update={"inference": plan.inference.model_copy(update={"precision": precision})})
    network = make_network(plan, plan.configuration("main")).eval()
    return Model(plan, "main", ("0",), (network,), Path("runs/toy/main"))


def quantization_of(model: Model, after: float) -> Quantization:
    evidence = Evidence(
        beside="bf16",
        tiles=1,
        training_cases=1,
        validation_cases=3,
        dice_before=0.9,
        dice_after=after,
        structures={},
        seconds_before=1,
        seconds_after=1,
    )
    return Quantization(
        schema_version=2,
        made="",
        medseg="",
        nncf="",
        openvino="",
        network=network_identity(model.networks[0]),
        graph="",
        careful=False,
        weight_bits=7,
        evidence=evidence,
        roundings=[],
    )


def test_what_the_machine_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError, match="OpenVINO computes on a CPU; the device is cuda"):
        check_computes_int8(torch.device("cuda"), "auto")
    with pytest.raises(PlanError, match=r"inference\.backend is torch"):
        check_computes_int8(CPU, "torch")
    pytest.importorskip("openvino")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert int8_weight_bits() is None
    with pytest.raises(PlanError, match="tried that on x86 processors alone") as refused:
        check_computes_int8(CPU, "auto")
    assert "inference.precision=auto" in str(refused.value)


def test_weights_of_8_bits_need_a_processor_whose_sums_do_not_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    model = some_model()
    for_all = quantization_of(model, after=0.8995)
    of_all_bits = for_all.model_copy(update={"weight_bits": 8, "schema_version": 1})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert int8_weight_bits() == 7
    check_int8(replace(model, quantizations=(for_all,)), CPU)
    with pytest.raises(ModelError, match=r"has weights of 8 bits, .* overflow on this one") as refused:
        check_int8(replace(model, quantizations=(of_all_bits,)), CPU)
    assert "medseg quantize toy/main --folds 0" in str(refused.value), "which gives them 7 on such a processor"


@x86
def test_a_fold_that_is_not_quantized_is_refused_with_the_command() -> None:
    pytest.importorskip("openvino")
    model = some_model()
    with pytest.raises(ModelError, match="fold 0 of runs/toy/main is not quantized") as refused:
        Predictor(model, CPU)
    assert "`medseg quantize toy/main --folds 0`" in str(refused.value)
    Predictor(some_model("fp32"), CPU)
    quantized = replace(model, quantizations=(quantization_of(model, after=0.8995),))
    check_int8(quantized, CPU)
    lossy = replace(model, quantizations=(quantization_of(model, after=0.897),))
    with pytest.raises(ModelError, match=r"lost too much .*: Dice 0\.8970 on 3 validation cases, 0\.9000 in bf16"):
        check_int8(lossy, CPU)
    with torch.no_grad():
        next(model.networks[0].parameters()).add_(1)
    with pytest.raises(ModelError, match="has other weights than when it was quantized"):
        check_int8(quantized, CPU)


@x86
def test_the_hint_for_a_package_is_to_make_it_again(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "toy.medseg").touch()
    with pytest.raises(ModelError, match="pack it again"):
        check_int8(replace(some_model(), folder=tmp_path / "toy.medseg"), CPU)
