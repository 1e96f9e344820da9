"""Fill the encoder of a network from a file of pretrained weights, with the names of torchvision, timm or others.

`medseg train` uses it where the plan has `network.weights`. Layers are found in three ways, and the way that finds most
is taken: by their names, after a prefix that all have in common (`module.`, `encoder.`, `features.`); by the order in
which they compute, if all layers have the same shapes; and by the order in the file, likewise. An encoder is as a whole
of one kind, so that layers of another network with the same shapes by chance are not mixed in.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.core.errors import ModelError, PlanError
from medseg.models.matching import Part, TakenWeights
from medseg.models.model import check_finite_weights, shape_text
from medseg.networks.device import first_line
from medseg.networks.encoders.rows import load_library
from medseg.plans.network_rules import DEFAULT_ENCODER
from medseg.plans.schema import Network

_LEAST_SHARE = 0.5
"""Share of the encoder's weights that a file must have; and of all that it has, one layer may have another shape (the
first convolution, of other channels). ResNet-18 has names and shapes of more than half its weights in common with
ResNet-50, and all with ResNet-34, which has further layers."""
_COUNTER = "num_batches_tracked"
"""Counter of batch normalization, which nothing depends on and old files lack."""
_HOLDERS = ("state_dict", "model", "model_state_dict", "model_state", "network_weights", "network", "encoder", "net")
"""Keys under which checkpoints of other programs hold their weights."""
_COLOURS = 3
_KERNEL_AXES = 4
_BLOCK_ORDERS = (
    ("conv_pw", "bn1", "conv_dw", "bn2", "se", "conv_pwl", "bn3"),
    ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv", "_bn2"),
)
"""In which order the layers of an inverted residual block compute: names of timm, names of efficientnet_pytorch."""
_PREFIXES = ("module", "model", "encoder", "backbone")
_PLACES = (
    ("conv_stem", "_conv_stem"),
    ("bn1", "_bn0"),
    ("blocks", "_blocks"),
    ("conv_head", "_conv_head"),
    ("bn2", "_bn1"),
)
"""In which order the parts of a network of such blocks compute, in both kinds of names."""
_BLOCKS = ("blocks", "_blocks")
_FIRST_BLOCK_ORDER = ("conv_dw", "bn1", "se", "conv_pw", "bn2")
"""The same for timm's blocks that do not widen."""

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class EncoderWeights(TakenWeights):
    """The weights that an encoder took from a file.

    Attributes:
        source: path of the file.
        sha256: its hash, in hexadecimal digits.
        encoder: name of the encoder.
        found_by: how its layers were found: `names`, `order of computation` or `order in the file`.
        parts: each part of the encoder, and how much of it was taken.
        notes: what a user should know, in sentences.
    """

    source: str
    sha256: str
    encoder: str
    found_by: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]


def find_weights(network: Network, workspace: Path, download: bool) -> Path:
    """Return the file of a plan's `network.weights`.

    Args:
        network: the plan's section.
        workspace: folder that a path is relative to.
        download: whether weights that the library names may be fetched from the internet.

    Raises:
        PlanError: there is no such file, or it would have to be downloaded.
    """
    assert network.weights is not None
    for path in (workspace / network.weights, Path(network.weights)):
        if path.is_file():
            return path
    encoder = network.encoder or DEFAULT_ENCODER
    entry = load_library().encoders.encoders.get(encoder, {})
    settings = entry.get("pretrained_settings") or {}
    if network.weights not in settings:
        named = f", and no weights of this name for {encoder}" if re.fullmatch(r"[\w-]+", network.weights) else ""
        there = f" `{'`, `'.join(settings)}` with `--download` fetches weights for it." if settings else ""
        raise PlanError(
            f"network.weights is {network.weights!r}: there is no such file in {workspace.absolute()}{named}.",
            f"Give the path of a file of weights for {encoder} (.pth, .pt, .bin or .safetensors)." + there,
        )
    return _from_hub(encoder, network.weights, settings[network.weights], download)


def _from_hub(encoder: str, name: str, settings: Mapping[str, Any], download: bool) -> Path:
    """Return the file of weights in the cache of huggingface_hub, where `download` puts it if it is missing."""
    from huggingface_hub import hf_hub_download

    repository, revision = settings["repo_id"], settings["revision"]
    try:
        return Path(hf_hub_download(repository, "model.safetensors", revision=revision, local_files_only=not download))
    except Exception as error:  # errors of several libraries
        if download:
            raise PlanError(
                f"The weights {name!r} of {encoder} could not be downloaded from huggingface.co/{repository}: "
                f"{type(error).__name__}: {first_line(error)}",
                "Check the connection, or bring the file from another machine: --set "
                "configurations.2d.network.weights=FILE",
            ) from None
        raise PlanError(
            f"network.weights is {name!r}: these weights of {encoder} are not on this machine, and nothing is "
            "downloaded unless it is asked for.",
            f"`medseg train --download` fetches them from huggingface.co/{repository}; or name a file.",
        ) from None


@torch.no_grad()
def take_encoder_weights(network: torch.nn.Module, path: Path, encoder: str) -> EncoderWeights:
    """Fill the encoder of a network from a file, in place; what the file does not have stays as it is.

    The first convolution of a file reads three colours. For another number of channels, its kernels are added up (one
    channel), or repeated in turn and rescaled so that their sum stays (`3 / channels`).

    Args:
        network: has a part `encoder`.
        path: a file of weights (.pth, .pt, .bin, .safetensors); it is read without running code that it may hold.
        encoder: name of the encoder, for messages.

    Returns:
        Which parts of the encoder were taken from the file, and how much of each.

    Raises:
        ModelError: the file cannot be read, or has hardly anything that fits.
    """
    state = read_state(path)
    target = _without_counters(network.get_submodule("encoder").state_dict())
    found_by, names = _best_names(target, state)
    counts: dict[str, list[int]] = {}  # {part: [weights taken, all weights]}
    details: dict[str, str] = {}
    notes: list[str] = []
    misfits: list[str] = []
    for layer, values in _layers(target).items():
        part = _part_of(layer)
        count = counts.setdefault(part, [0, 0])
        size = sum(value.numel() for value in values.values())
        count[1] += size
        sources = {key: state.get(names.get(f"{layer}.{key}", "")) for key in values}
        problem = _misfit(layer, values, sources)
        if problem:
            details.setdefault(part, problem)
            misfits += [problem] if None not in sources.values() else []
            continue
        for key, value in values.items():
            source = sources[key]
            assert source is not None
            if source.shape != value.shape:
                notes.append(_channels_note(value.shape[1]))
            value.copy_(_as_channels(source, value.shape))
        count[0] += size
    parts = tuple(Part(name, taken, total, details.get(name, "")) for name, (taken, total) in counts.items())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    weights = EncoderWeights(str(path), sha256, encoder, found_by, parts, tuple(notes))
    further = _further_layers(names, state)
    if weights.share < _LEAST_SHARE or len(misfits) > 1 or further:
        why = [*misfits[:2], *(f"the file also has {name}" for name in further[:1])] or [*details.values()][:2]
        raise ModelError(
            f"The weights in {path} do not fit the encoder {encoder}: {weights.share:.1%} of its weights have a "
            f"counterpart. {'; '.join(why)}. The file begins with {', '.join([*state][:3])}.",
            "Set network.encoder to the encoder that the file belongs to, or network.weights to another file.",
        )
    return weights


def _misfit(layer: str, values: State, sources: Mapping[str, torch.Tensor | None]) -> str | None:
    """Return why a layer cannot be taken, or None; its weights and statistics are taken together, or not at all."""
    for key, value in values.items():
        source = sources[key]
        if source is None:
            return f"{layer}.{key} is not in the file"
        if not _fits(source, value):
            return f"{layer}.{key} is {shape_text(source)} in the file, here {shape_text(value)}"
    return None


def _further_layers(names: Mapping[str, str], state: State) -> list[str]:
    """Return the tensors that the file has beside those that were found, in the same parts: it is a deeper encoder's.

    A classifier behind the encoder, or the decoder of a whole network, is a part of its own.
    """
    if not names:
        return []
    used = {*names.values()}
    name, other = next(iter(names.items()))
    prefix = other[: -len(name)] if other.endswith(name) else ""
    parts = {value.removeprefix(prefix).split(".")[0] for value in used}
    return [
        value
        for value in _without_counters(state)
        if value not in used and value.startswith(prefix) and value.removeprefix(prefix).split(".")[0] in parts
    ]


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by their names, without running code that it may hold.

    Args:
        path: a file of safetensors or of `torch.save`, which may hold more than weights.

    Raises:
        ModelError: it cannot be read, holds objects other than tensors, or no tensors.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            state = load_file(path)
        except Exception as error:  # safetensors raises a type of its own
            raise ModelError(f"{path} is not a valid safetensors file: {first_line(error)}.") from None
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ModelError(
                f"{path} holds more than tensors, and reading it could run code; nothing of it was read "
                f"({first_line(error)[:200]}).",
                "Save only the weights with the program that made it: torch.save(model.state_dict(), FILE).",
            ) from None
        except Exception as error:  # torch raises many kinds for damaged files
            raise ModelError(
                f"{path} is not a file of weights: {type(error).__name__}: {first_line(error)}",
                "Expected what torch.save or safetensors writes (.pth, .pt, .bin, .safetensors).",
            ) from None
        state = _tensors(content)
    if not state:
        raise ModelError(f"{path} holds no tensors by name.", "Expected the state_dict of a network.")
    check_finite_weights(state, str(path))
    return state


def _tensors(content: Any) -> dict[str, torch.Tensor]:
    """Return the tensors by name in what a file held, which may lie under a key such as `state_dict`."""
    if not isinstance(content, Mapping):
        return {}
    state = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    for key in _HOLDERS:
        if not state and key in content:
            state = _tensors(content[key])
    return state


def _without_counters(state: State) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not name.endswith(_COUNTER)}


def _best_names(target: State, state: State) -> tuple[str, dict[str, str]]:
    """Return how the layers are found best, and the name in the file of each of the encoder's tensors that it has."""
    source = _without_counters(state)
    matchings = {
        "names": _by_prefix(target, source),
        "order of computation": _by_order(target, {name: source[name] for name in sorted(source, key=_order_of)}),
        "order in the file": _by_order(target, source),
    }

    def taken(kind: str) -> int:
        fits = (name for name, source_name in matchings[kind].items() if _fits(source[source_name], target[name]))
        return sum(target[name].numel() for name in fits)

    best = max(matchings, key=taken)  # the first of those that are equal
    return best, matchings[best]


def _by_prefix(target: State, source: State) -> dict[str, str]:
    """Return the pairs of names that differ by the prefix which most of them have in common.

    Either side may have it: `module.encoder.` in the file of a whole network, `features.` in the encoder alone.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for name in target:
        for other in source:
            if other == name or other.endswith("." + name):
                counts[other[: len(other) - len(name)], ""] += 1
            elif name.endswith("." + other):
                counts["", name[: len(name) - len(other)]] += 1
    if not counts:
        return {}
    prefix, own_prefix = max(counts, key=lambda key: (counts[key], key == ("", "")))
    pairs = {name: prefix + name.removeprefix(own_prefix) for name in target if name.startswith(own_prefix)}
    return {name: other for name, other in pairs.items() if other in source}


def _by_order(target: State, source: State) -> dict[str, str]:
    """Return the pairs of names by the order of layers, if those of the file begin with layers of all these shapes."""
    layers, others = _layers(target), _layers(source)
    if len(others) < len(layers):
        return {}
    pairs: dict[str, str] = {}
    for (name, values), (other, other_values) in zip(layers.items(), others.items(), strict=False):
        if values.keys() != other_values.keys():
            return {}
        if not all(_fits(other_values[key], value) for key, value in values.items()):
            return {}
        pairs |= {f"{name}.{key}": f"{other}.{key}" for key in values}
    return pairs


def _layers(state: State) -> dict[str, dict[str, torch.Tensor]]:
    """Return {name of a layer: {name of its tensor: the tensor}} in the given order."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        layer, _, key = name.rpartition(".")
        layers.setdefault(layer, {})[key] = value
    return layers


def _order_of(name: str) -> tuple[Any, ...]:
    """Return a key that sorts names by the order in which their layers compute, where the names are known.

    safetensors stores tensors by name, where block 10 stands before block 2, and the head before the stem.

    >>> sorted(["conv_head.w", "blocks.10.0.conv_pw.w", "blocks.2.0.bn1.w", "bn1.w", "conv_stem.w"], key=_order_of)
    ['conv_stem.w', 'bn1.w', 'blocks.2.0.bn1.w', 'blocks.10.0.conv_pw.w', 'conv_head.w']
    """
    words = name.split(".")
    while len(words) > 1 and words[0] in _PREFIXES:
        words.pop(0)
    part_rank = next((rank for rank, names in enumerate(_PLACES) if words[0] in names), len(_PLACES))
    inner: tuple[int, ...] = ()
    if words[0] in _BLOCKS:
        numbers = [word for word in words[1:] if word.isdigit()]
        layer = next((word for word in words[1:] if not word.isdigit()), "")
        # the blocks of timm's first stage do not widen: their depthwise convolution comes first
        orders = (_FIRST_BLOCK_ORDER,) if words[0] == "blocks" and numbers[:1] == ["0"] else _BLOCK_ORDERS
        rank = next((order.index(layer) for order in orders if layer in order), len(_BLOCK_ORDERS[1]))
        inner = (*map(int, numbers), rank)
    natural = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"[._]", name))
    return (part_rank, inner, natural)


def _fits(source: torch.Tensor, target: torch.Tensor) -> bool:
    return _as_channels(source, target.shape).shape == target.shape


def _as_channels(source: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the kernels of a first convolution for another number of channels; other tensors as they are.

    As `segmentation_models_pytorch.encoders._utils.patch_first_conv` and timm do it.
    """
    same = source.ndim == len(shape) == _KERNEL_AXES and source.shape[0] == shape[0] and source.shape[2:] == shape[2:]
    channels = shape[1] if same else _COLOURS
    if not same or source.shape[1] != _COLOURS or channels == _COLOURS:
        return source
    if channels == 1:
        return source.sum(dim=1, keepdim=True)
    return source[:, [number % _COLOURS for number in range(channels)]] * (_COLOURS / channels)


def _channels_note(channels: int) -> str:
    how = "added up" if channels == 1 else f"repeated in turn and multiplied by 3/{channels}"
    return f"the first convolution of the file reads 3 colours, here {channels}: its kernels were {how}"


def _part_of(name: str) -> str:
    """Return the part of the encoder that a layer belongs to, as a line of the table."""
    words = name.split(".")
    return ".".join(words[: 2 if len(words) > 1 and words[1].isdigit() else 1])
