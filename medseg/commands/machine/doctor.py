"""`medseg doctor`: versions, devices, extras, a check of the installation, and how fast this machine trains."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec

import torch
from packaging.requirements import Requirement

from medseg import __version__
from medseg.core.machine.host_memory import free_host_bytes, total_host_bytes
from medseg.core.progress import Callback, silent, track
from medseg.inference.backends.openvino_import import without_telemetry
from medseg.networks.device import autocast, choose_device, choose_precision, first_line, precision_name
from medseg.networks.threads import usable_cores, use_cores
from medseg.networks.unet import UNet
from medseg.plans.schema import Network

EXTRAS = {
    "openvino": "faster prediction on Intel and AMD processors",
    "dicom": "DICOM series in; segmentations, contours and reports out",
    "networks": "MONAI's transformers, such as SwinUNETR",
    "encoders": "2D networks with pretrained encoders",
    "onnx": "medseg export model.onnx",
    "int8": "medseg quantize: prediction in 8 bits",
    "minc": "MINC files (.mnc)",
    "xlsx": "medseg predict --xlsx: volumes as a workbook",
    "tensorboard": "medseg train --log tensorboard",
    "mlflow": "medseg train --log mlflow",
    "cluster": "--cluster: several processes or machines (Dask, Slurm)",
    "notebooks": "the notebooks of examples/notebooks",
}
"""Extra, as `pip install 'medseg[EXTRA]'` takes it -> what it is for; pyproject.toml says what is in it."""
_IMPORTED = ("SimpleITK", "monai", "nibabel", "openvino", "pydicom", "highdicom", "torchvision", "onnxruntime")
"""Modules that may be there and still fail: they hold compiled code, or fit only some versions of another one."""
_PACKAGES = ("torch", "monai", "numpy", "scipy", "nibabel", "SimpleITK", "numba", "scikit-learn", "pydantic")
_SPEED_SECONDS = 5.0
"""How long the speed test runs in each precision."""
_PATCH, _BATCH = (32, 32, 32), 2
_FEATURES = [32, 64, 128, 256]


@dataclass(frozen=True)
class DeviceFacts:
    """A device that can be computed on.

    Attributes:
        name: as `--device` takes it, such as cuda:0.
        hardware: its name.
        memory_gb: its memory; of a CPU, that which this process may use.
        free_gb: how much of it is free now.
        precision: in which convolutions are computed if the plan says auto: bf16, fp16 or fp32.
    """

    name: str
    hardware: str
    memory_gb: float
    free_gb: float
    precision: str


@dataclass(frozen=True)
class Speed:
    """The measured speed of training steps.

    Attributes:
        device: the device that was measured.
        precision: in what.
        seconds_per_step: the mean of the steps.
        steps: how many.
    """

    device: str
    precision: str
    seconds_per_step: float
    steps: int


@dataclass(frozen=True)
class DoctorResult:
    """The result of `doctor`: facts on this machine and this installation.

    Attributes:
        versions: {package: version}, with Python and medseg first; None for one that is missing.
        devices: the devices that can be computed on, the best one first.
        threads: how many of torch's threads compute on the CPU.
        cores: the physical cores that this process may use.
        extras: {name of an extra: packages that it needs and that are missing}; empty if medseg is not installed.
        speeds: of a training step of a 3D U-Net (batch 2 of 32 x 32 x 32 voxels, 32 to 256 features).
        problems: what is wrong with the installation, in sentences that say what to do.
        notes: what could be better and harms nothing.
    """

    versions: dict[str, str | None]
    devices: tuple[DeviceFacts, ...]
    threads: int
    cores: int
    extras: dict[str, tuple[str, ...]]
    speeds: tuple[Speed, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def doctor(speed: bool = True, callback: Callback = silent) -> DoctorResult:
    """Look at this machine and this installation, and measure how fast it trains.

    Args:
        speed: whether to measure; it takes about ten seconds.
        callback: told of the progress; may raise `Cancelled`.

    Returns:
        Versions, devices, extras, problems of the installation and, if measured, the speed of training.

    Raises:
        Cancelled: the callback raised it; a device that fails is one of the problems.
    """
    use_cores()
    problems = _problems()
    devices: tuple[DeviceFacts, ...] = ()
    speeds: tuple[Speed, ...] = ()
    try:
        devices = _devices()
        speeds = _speeds(devices[0], callback) if speed else ()
    except RuntimeError as error:  # a GPU that is broken, full, or reserved for another process
        problems.append(f"The device {devices[0].name if devices else 'cuda'} fails: {first_line(error)}.")
    return DoctorResult(
        versions=_versions(),
        devices=devices or (_processor_facts(),),
        threads=torch.get_num_threads(),
        cores=usable_cores(),
        extras={} if _requirements() is None else {extra: _missing(extra) for extra in EXTRAS},
        speeds=speeds,
        problems=tuple(problems),
        notes=_notes(),
    )


def _versions() -> dict[str, str | None]:
    """Return the versions of Python, medseg and what it stands on."""
    versions: dict[str, str | None] = {"Python": platform.python_version(), "medseg": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _devices() -> tuple[DeviceFacts, ...]:
    """Return the devices that can be computed on, the best one first."""
    best = choose_device()
    devices = []
    for number in range(torch.cuda.device_count() if best.type == "cuda" else 0):
        device = torch.device("cuda", number)
        free, total = torch.cuda.mem_get_info(device)
        hardware = torch.cuda.get_device_name(device)
        devices.append(DeviceFacts(str(device), hardware, total / 1e9, free / 1e9, _precision(device)))
    if best.type == "mps":
        limit = torch.mps.recommended_max_memory()
        devices.append(DeviceFacts("mps", platform.processor(), limit / 1e9, free_host_bytes() / 1e9, _precision(best)))
    return (*devices, _processor_facts())


def _processor_facts() -> DeviceFacts:
    memory = (total_host_bytes() / 1e9, free_host_bytes() / 1e9)
    return DeviceFacts("cpu", _processor(), *memory, _precision(torch.device("cpu")))


def _precision(device: torch.device) -> str:
    return precision_name(choose_precision("auto", device))


def _processor() -> str:
    """Return the name of the processor, with the instructions that torch uses of it."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def _requirements() -> list[str] | None:
    """Return the requirements of medseg and its extras, as pip takes them; None if medseg is not installed."""
    try:
        return metadata.requires("medseg") or []
    except metadata.PackageNotFoundError:
        return None


def _missing(extra: str) -> tuple[str, ...]:
    """Return the packages of an extra that are missing or too old, as pip takes them; "" stands for medseg itself."""
    missing = []
    for text in _requirements() or ():
        requirement = Requirement(text)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})  # OpenVINO, say, on x86
        of_extra = marker is not None and not always and marker.evaluate({"extra": extra})
        if not (of_extra if extra else always):
            continue
        try:
            fits = requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
        except metadata.PackageNotFoundError:
            fits = False
        if not fits:
            missing.append(f"{requirement.name}{requirement.specifier}")
    return tuple(missing)


def _problems() -> list[str]:
    """Return the problems of the installation, in sentences that say what to do."""
    problems = [f"{package} is missing or does not fit. Reinstall medseg." for package in _missing("")]
    for module in _IMPORTED:
        if find_spec(module) is None:
            continue
        try:
            with without_telemetry():
                import_module(module)
        except Exception as error:  # a library built for another version of torch raises what it likes
            problems.append(f"{module} is installed but cannot be imported: {first_line(error)}. Reinstall it.")
    return problems


def _notes() -> tuple[str, ...]:
    """Return notes on what could be better but does no harm."""
    notes = []
    if _requirements() is None:
        notes.append("medseg runs from a folder without being installed, so its packages and extras are not checked.")
    if torch.version.cuda and not torch.cuda.is_available():
        notes.append(
            f"torch is built for CUDA {torch.version.cuda}, but there is no GPU that it can use: none at all, or its "
            "driver is missing or too old. Without a GPU, a CPU build of torch does the same and is much smaller."
        )
    return tuple(notes)


def _speeds(device: DeviceFacts, callback: Callback) -> tuple[Speed, ...]:
    """Measure a training step in fp32 and in the precision that would be chosen."""
    precisions = list(dict.fromkeys(("fp32", device.precision)))
    return tuple(
        _speed(torch.device(device.name), precision)
        for precision in track(precisions, "speed test", len(precisions), callback)
    )


def _speed(device: torch.device, precision: str) -> Speed:
    """Measure training steps of a U-Net for some seconds; the first one, which sets things up, does not count."""
    stages = len(_FEATURES)
    sizes = Network(
        name="plain_unet",
        features=_FEATURES,
        kernels=[[3, 3, 3]] * stages,
        strides=[[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        blocks=[2] * stages,
        decoder_convolutions=[2] * (stages - 1),
    )
    network = UNet(sizes, 1, 2, residual=False).to(device)
    kind = choose_precision(precision, device)
    tiles = torch.randn(_BATCH, 1, *_PATCH, device=device)
    times: list[float] = []
    start_time = time.monotonic()
    while len(times) < 2 or time.monotonic() - start_time < _SPEED_SECONDS:
        before = time.monotonic()
        with autocast(device, kind):
            logits = network(tiles)[0]
        logits.float().square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic() - before)
    return Speed(str(device), precision, sum(times[1:]) / (len(times) - 1), len(times) - 1)
