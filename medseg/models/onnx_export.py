"""Write the network of a trained model as ONNX, checked against torch, with instructions for callers in JSON beside it.

Optional: `pip install 'medseg[onnx]'`. The file holds one fold's network for tiles of one size, any number at a time.
What lies around it (resampling, normalization, tiles, the choice of labels) is not in it; the JSON says it in numbers.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg import __version__
from medseg.core.errors import ModelError
from medseg.core.files import saving, write_json
from medseg.core.installing import pip_install
from medseg.core.labels import Labels
from medseg.models.identity import identity
from medseg.models.model import Model, input_channels
from medseg.networks.device import evaluating, first_line, is_out_of_memory
from medseg.networks.difference import largest_difference
from medseg.networks.row import FullResolution
from medseg.networks.table import NETWORKS
from medseg.preprocessing.normalize import NORMALIZATIONS

OPSET = 18
"""Version of ONNX's operators; onnxruntime has read it since 1.14 (2023)."""
INPUT, OUTPUT = "tiles", "logits"
METADATA_KEY = "medseg"
"""Key under which the file itself holds the text of the JSON."""
TOLERANCE = 1e-3
"""Largest difference between the logits of onnxruntime and torch, as a share of the largest logit: both compute in fp32
and add in another order, which is some 1e-6 a layer; a wrong operator is off by much more."""
_BATCHES = (1, 3)
"""Numbers of tiles that the file is checked with."""


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked.

    Attributes:
        path: of the ONNX file.
        metadata: of the JSON beside it.
        fold: whose network it is.
        bytes: size of the ONNX file.
        difference: largest difference between its logits and torch's, as a share of the largest logit.
    """

    path: Path
    metadata: Path
    fold: str
    bytes: int
    difference: float


def check_can_export(model: Model) -> None:
    """Refuse what cannot be exported, before anything is computed.

    Args:
        model: to be exported.

    Raises:
        ModelError: a package is missing, the model is a cascade, or its network is known not to work.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ModelError(f"Exporting needs {' and '.join(missing)}.", pip_install("onnx"))
    if model.previous is not None:
        raise ModelError(
            "A cascade is not exported: its second network takes the labels of the first as channels, on another grid.",
            f"Export a model of {model.previous.configuration_name} alone, or use `medseg package`.",
        )
    name = model.configuration.network.name
    row = NETWORKS.get(name)
    if row is not None and row.no_onnx:
        raise ModelError(f"The network {name} cannot be exported to ONNX: {row.no_onnx}.")


def export_fold(model: Model, number: int, path: Path) -> Exported:
    """Write one fold's network, compare its logits with torch's, and write the JSON beside it.

    Args:
        model: on the CPU.
        number: of the fold, counted from 0.
        path: of the ONNX file; the JSON has the same name with `.json`.

    Returns:
        The file, and how far its logits are from torch's.

    Raises:
        ModelError: the network cannot be exported, or the file does not answer as torch does.
    """
    configuration = model.configuration
    shape = (input_channels(model.plan, configuration), *configuration.patch_voxels)
    network = FullResolution(model.networks[number]).cpu().float()
    about = describe(model, number)
    with evaluating(network):
        content = _with_metadata(_onnx_bytes(network, shape, configuration.network.name), about)
        difference = _difference(network, content, shape)
    if not difference <= TOLERANCE:
        raise ModelError(
            f"The exported network's logits differ from torch's by {difference:.2g} of the largest one; expected at "
            f"most {TOLERANCE:g}. Nothing was written."
        )
    with saving(path) as temporary:
        Path(temporary).write_bytes(content)
    metadata = path.with_suffix(".json")
    write_json(metadata, about)
    return Exported(path, metadata, model.folds[number], len(content), difference)


def describe(model: Model, number: int) -> dict[str, Any]:
    """Return the description of the file for programs that run it, as JSON.

    Args:
        model: the model.
        number: of the fold.
    """
    plan, configuration = model.plan, model.configuration
    axes = ["z", "y", "x"][-configuration.dimensions :]
    return {
        "format": "medseg network, ONNX",
        "medseg": __version__,
        "opset": OPSET,
        "plan": plan.name,
        "configuration": model.configuration_name,
        "fold": model.folds[number],
        "model": identity(model),
        "network": configuration.network.name,
        "input": {
            "name": INPUT,
            "type": "float32",
            "axes": ["tile", "channel", *axes],
            "shape": ["any", input_channels(plan, configuration), *configuration.patch_voxels],
            "channels": list(plan.data.channels),
        },
        "output": {"name": OUTPUT, "type": "float32", "axes": ["tile", "output", *axes], "outputs": _outputs(model)},
        "spacing_mm": list(configuration.spacing_mm),
        "orientation": plan.orientation,
        "transpose_forward": list(plan.transpose_forward),
        "normalization": [
            {"channel": channel, **rule.model_dump(mode="json")}
            for channel, rule in zip(plan.data.channels, configuration.normalization, strict=True)
        ],
        "intensities": [values.model_dump(mode="json") for values in plan.data.intensities],
        "resampling": {
            "image": configuration.resample_image.model_dump(mode="json"),
            "logits": configuration.resample_logits.model_dump(mode="json"),
        },
        "labels": plan.labels.model_dump(mode="json"),
        "activation": plan.labels.activation,
        "inference": plan.inference.model_dump(mode="json"),
        "mirror_axes": [axes[axis] for axis in configuration.mirror_axes],
        "what_a_caller_does": _instructions(model, axes),
    }


def _schemes(model: Model) -> str:
    """Return what the schemes do that a model normalizes with, in sentences."""
    sentences = []
    used = dict.fromkeys((item.scheme, item.nonzero_only) for item in model.configuration.normalization)
    for scheme, nonzero_only in used:
        does = (NORMALIZATIONS[scheme].__doc__ or "as it was registered.").splitlines()[0].rstrip(".")
        numbers = " (`intensities`)" if scheme == "ct" else ""
        only = ", of the voxels that are not 0, and set the others to 0 afterwards" if nonzero_only else ""
        sentences.append(f"{scheme}: {does[:1].lower()}{does[1:]}{numbers}{only}.")
    return " ".join(sentences)


def _instructions(model: Model, axes: Sequence[str]) -> list[str]:
    """Return instructions for the work around the network, step by step, in words."""
    plan = model.plan
    crop = "Crop to the box around all voxels that are not 0 in some channel; outside of it the answer is background."
    mirror = "Where `inference.mirror` is true, average the logits of all mirrored copies along `mirror_axes`."
    return [
        "Bring the scan to the plan's frame: "
        + ("axes to right, anterior, superior (RAS)" if plan.orientation == "canonical" else "axes as stored")
        + f", arrays as (z, y, x), then in the order transpose_forward {list(plan.transpose_forward)}.",
        *([] if plan.labels.background is None else [crop]),
        f"Normalize each channel by its scheme in `normalization`. {_schemes(model)}",
        f"Resample to spacing_mm along {', '.join(axes)} with a spline of the order in `resampling.image`.",
        "Pad axes that are shorter than a tile with zeros, cut overlapping tiles of the input's shape (a share of "
        "`inference.step_fraction` apart), and weight each answer by a Gaussian of "
        "`inference.gaussian_sigma_fraction` of the tile.",
        *([mirror] if model.configuration.mirror_axes else []),
        *(["Average the logits of the files of all folds."] if len(model.folds) > 1 else []),
        "Resample the logits to the grid of the scan as `resampling.logits` says, and only then decide: "
        + _decision(plan.labels),
        "Compare with the answers of `medseg predict` on a few scans before you rely on another program.",
    ]


def _decision(labels: Labels) -> str:
    """Return how logits become values, in words."""
    if labels.activation == "sigmoid":
        return "write the value of each output where its logit is above 0, a later output over an earlier one."
    if labels.background is None:
        return "the output with the largest logit, output 0 left out: it stands for no class."
    return "the output with the largest logit."


def _outputs(model: Model) -> list[dict[str, Any]]:
    """Return the meaning of each output channel of the network, and the value that medseg writes for it."""
    labels = model.plan.labels
    names = list(labels.members)
    # without a background, output 0 stands for what lies beyond an image: it has no value, and is never answered
    first = {"structure": None if labels.background is None else "background", "value": labels.background}
    return [
        *[first] * (labels.outputs - len(names)),
        *(
            {"structure": name, "value": labels.written_values[name], "values": [*labels.members[name]]}
            for name in names
        ),
    ]


def _onnx_bytes(network: nn.Module, shape: Sequence[int], name: str) -> bytes:
    """Return the network as ONNX for any number of tiles of one shape.

    torch's exporter of traced graphs is tried first: it takes seconds where that of `torch.export` takes many, and
    needs no `onnxscript`. A torch that has it no longer, or cannot trace a network with it, uses the other.

    Raises:
        ModelError: neither can.
    """
    problems = []
    for export_bytes in (_by_tracing, _by_torch_export):
        try:
            with warnings.catch_warnings(), _quiet():
                warnings.simplefilter("ignore")
                return export_bytes(network, torch.zeros(2, *shape))
        except Exception as error:  # exporters raise all kinds of errors
            if is_out_of_memory(error):
                raise
            problems.append(f"{type(error).__name__}: {first_line(error)}")
    raise ModelError(f"The network {name} cannot be exported to ONNX: {'; '.join(dict.fromkeys(problems))}.")


def _by_tracing(network: nn.Module, example: torch.Tensor) -> bytes:
    stream: Any = io.BytesIO()
    torch.onnx.export(
        network,
        (example,),
        stream,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: "tile"}, OUTPUT: {0: "tile"}},
        dynamo=False,
    )
    content: bytes = stream.getvalue()
    return content


def _by_torch_export(network: nn.Module, example: torch.Tensor) -> bytes:
    program: Any = torch.onnx.export(
        network,
        (example,),
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes={INPUT: {0: torch.export.Dim("tile")}},
        dynamo=True,
        verbose=False,
    )
    content: bytes = program.model_proto.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporters from logging, and from printing to standard output what they do."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _with_metadata(content: bytes, about: dict[str, Any]) -> bytes:
    """Return the ONNX file with the text of the JSON in it, so that a file that went astray still says what it is."""
    import onnx

    graph = onnx.load_from_string(content)
    onnx.helper.set_model_props(graph, {METADATA_KEY: json.dumps(about, ensure_ascii=False)})
    onnx.checker.check_model(graph)
    data: bytes = graph.SerializeToString()
    return data


def _difference(network: nn.Module, content: bytes, shape: Sequence[int]) -> float:
    """Return by how much onnxruntime's logits of noise differ from torch's, as a share of the largest logit.

    Raises:
        ModelError: onnxruntime cannot compute the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    generator, worst = torch.Generator().manual_seed(0), 0.0
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for count in _BATCHES:
            tiles = torch.randn(count, *shape, generator=generator)
            answer = torch.from_numpy(session.run([OUTPUT], {INPUT: tiles.numpy()})[0])
            expected = network(tiles).float()
            if answer.shape != expected.shape:
                raise ModelError(f"onnxruntime answers {tuple(answer.shape)}, torch {tuple(expected.shape)}.")
            worst = max(worst, largest_difference(answer, expected))
    except ModelError:
        raise
    except Exception as error:  # onnxruntime has errors of its own
        raise ModelError(f"onnxruntime cannot compute the exported network: {first_line(error)}") from None
    return worst
