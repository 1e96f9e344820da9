"""Predictor: a trained model that stays loaded; a scan in, labels on the scan's grid out.

This is the only way from a scan to labels: prepare (the scan on the network's grid), logits (slabs of the sliding
window), restore (labels on the scan's grid, as slabs come). `medseg predict` feeds it with files and writes what comes
out, see `delivery.answers.segment`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from numpy.typing import NDArray

from medseg.core.errors import ScanWarning
from medseg.core.image import Image
from medseg.core.machine.host_memory import MEMORY_ADVICE
from medseg.core.options import as_names
from medseg.core.outside import without_nan
from medseg.core.progress import Callback, silent
from medseg.inference.backends.int8 import check_int8
from medseg.inference.fast import make_fast
from medseg.inference.joined import joint_logits, joint_spread
from medseg.inference.passes import Passes
from medseg.inference.treatment import treated_labels
from medseg.inference.unlike_scans import check_memory, scan_findings, settle
from medseg.inference.volumes import structure_volumes
from medseg.inference.window_pass import check_finite
from medseg.io.in_memory import refuse_spacing, scan_in_memory
from medseg.io.load import load_files
from medseg.models.model import Model, NetworkFactory
from medseg.models.open import load_model
from medseg.models.workspace import Workspace
from medseg.networks.device import choose_device, choose_precision, memory_errors
from medseg.preprocessing.normalize import check_schemes
from medseg.preprocessing.restore import Sink, stream_maps
from medseg.preprocessing.volume import Volume, geometry_of, prepare

if TYPE_CHECKING:
    import SimpleITK as sitk
    from nibabel.spatialimages import SpatialImage

    from medseg.confidence.measures import CaseMeasures
    from medseg.inference.observation import Observation

_MOST_PARTS = 2
"""Parts of the name of a run in a workspace: PLAN/CONFIGURATION."""


class Predictor:
    """Segments scans with a model.

    Calls share nothing but the networks, and nothing is set for the whole process: several threads may call one
    predictor, and each gets the answer that it would get alone. They take turns at the processor or device, so threads
    only overlap reading and writing with computing. A call that is cancelled or fails leaves the predictor as it was.

    Example:
        >>> import medseg
        >>> predictor = medseg.Predictor.load("runs/hippocampus/3d_fullres")  # doctest: +SKIP
        >>> scan = medseg.read_image("scan.nii.gz")                           # doctest: +SKIP
        >>> labels = predictor(scan)                                          # doctest: +SKIP
        >>> labels.same_grid(scan), labels.array.dtype                        # doctest: +SKIP
        (True, dtype('uint8'))

    Args:
        model: plan and networks.
        device: on which the networks are.
        compares: whether scans are compared with those that the model was trained on; not for these themselves.

    Attributes:
        notes: what was done otherwise than asked, in sentences.
        backend: who computes the networks: `torch`, `openvino`, or `torch: ` and the way that measured fastest on a
            GPU, which is known after the first tiles.

    Raises:
        PlanError: the model's plan names a normalization that nobody registered, or int8 where it cannot be computed.
        ModelError: the plan names int8, and a fold is not quantized.
    """

    def __init__(self, model: Model, device: torch.device, compares: bool = True) -> None:
        self.model = model
        self.device = device
        self.compares = compares
        self.configuration = model.configuration
        check_schemes(self.configuration, model.configuration_name)
        self.inference = model.plan.inference
        self.precision = choose_precision(self.inference.precision, device)
        if self.precision == torch.int8:
            check_int8(model, device)
        self.notes: list[str] = []
        self._passes = Passes(model, device, self.precision, self.notes)
        self._others = [Predictor(other, device, compares=False) for other in model.others]
        for predictor in self._others:
            predictor.notes = predictor._passes.notes = self.notes

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "auto",
        folds: str | int | Sequence[str | int] | None = None,
        overrides: list[str] | None = None,
        factory: NetworkFactory | None = None,
        configuration: str | None = None,
        checkpoint: str | None = None,
        fast: bool = False,
        selection: bool = True,
    ) -> Predictor:
        """Load a model.

        Args:
            folder: a run's folder, a package (`model.medseg`), or a model folder or zip of nnU-Net's; or `PLAN` or
                `PLAN/CONFIGURATION`, for a run in the folder `runs` of the current folder. Of `PLAN`, or a folder
                `runs/PLAN`, its `selection.yaml` says which runs answer, and what is done to answers.
            device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
            folds: which folds to average, such as `[0, 1]` or `"0,1"`; None for all that are trained.
            overrides: `dotted.key=value` strings for its plan, such as `inference.mirror=false`.
            factory: makes the network of a run that was trained with one of the user's own.
            configuration: which configuration, where there are several.
            checkpoint: the checkpoint of nnU-Net's models: `final`, `best`, `latest` or a file's name.
            fast: trade some accuracy for time (`inference.fast.TRADES`), except what `overrides` name.
            selection: whether `selection.yaml` is used; not where configuration, folds or checkpoint are named.

        Returns:
            The predictor, with its networks on the device.

        Raises:
            ModelError: the model is not there, or is damaged.
            PlanError: the device is not there, or an override is not valid.
        """
        torch_device, folds = choose_device(device), as_names(folds)
        if not Path(folder).exists() and len(Path(folder).parts) <= _MOST_PARTS:
            selected = selection and not folds and checkpoint is None
            folder = Workspace(Path()).model_path(folder, configuration, "Predictor.load", selected)
        model = load_model(folder, torch_device, folds, overrides, factory, configuration, checkpoint, selection)
        return cls(make_fast(model, overrides or ()) if fast else model, torch_device)

    @overload
    def __call__(self, image: Image | str | Path | Sequence[str | Path], callback: Callback = silent) -> Image: ...

    @overload
    def __call__(self, image: sitk.Image, callback: Callback = silent) -> sitk.Image: ...

    @overload
    def __call__(
        self, image: NDArray, callback: Callback = silent, spacing: Sequence[float] | None = None
    ) -> NDArray: ...

    @overload
    def __call__(self, image: SpatialImage, callback: Callback = silent) -> SpatialImage: ...

    def __call__(self, image: Any, callback: Callback = silent, spacing: Sequence[float] | None = None) -> Any:
        """Segment a scan, and answer in its kind.

        Args:
            image: a scan with the channels that the model was trained on: a `medseg.Image`, or an image of nibabel
                (channels last) or SimpleITK (channels as components: `sitk.Compose`); or an array (z, y, x), of several
                channels (channel, z, y, x), of 2D images without z. Or its file, or its files in the order of the
                channels, which are read as `medseg predict` reads them.
            callback: receives progress after every batch of tiles, as the stage `tiles`, with `note` in its info where
                memory ran short; may raise `Cancelled`.
            spacing: of an array: the size of a voxel along its axes in mm; None if it is unknown. An array is taken to
                lie as SimpleITK's arrays do, which a warning says.

        Returns:
            Labels on the grid of `image`, in the values that the training labels had: a `medseg.Image` (1, z, y, x) for
            one and for files; an image of nibabel or SimpleITK, or an array (z, y, x) or (y, x), for such.

        Raises:
            DataError: the image does not suit the model, is so unlike its training scans that an answer would not mean
                anything, or a file cannot be read.
            MedsegError: there is not enough memory.

        Warns:
            ScanWarning: how the scan differs from those that the model was trained on.
        """
        if isinstance(image, str | Path | list | tuple):
            refuse_spacing(spacing, "a file")
            files = [image] if isinstance(image, str | Path) else image
            image = load_files(files, len(self.model.plan.data.channels), self.model.plan.data.reading)
        given, in_kind = scan_in_memory(image, len(self.model.plan.data.channels), spacing)
        scan, _ = without_nan(given, "The scan")
        volume = self.prepare(scan, callback)
        for text in volume.warnings:
            warnings.warn(text, ScanWarning, stacklevel=2)
        return in_kind(scan.with_array(self.labels(volume, callback)[None]))

    def prepare(self, image: Image, callback: Callback = silent) -> Volume:
        """Bring a scan to the networks' grid; for the second stage of a cascade, the first one is predicted here.

        Args:
            image: a scan with finite values (`core.outside.without_nan`; what medseg reads from files has them).
            callback: receives the progress of a first stage.

        Raises:
            DataError: the image does not suit the model, or is so unlike its training scans that an answer would not
                mean anything.
            MedsegError: there is not enough memory.

        Returns:
            The scan on the networks' grid; its `warnings` say how it differs from the training scans.
        """
        with memory_errors(MEMORY_ADVICE):
            geometry = geometry_of(image, self.model.plan, self.configuration)
            plan, configuration = self.model.plan, self.configuration
            findings = scan_findings(image, geometry, plan, configuration) if self.compares else []
            texts = settle(findings, self.inference.unlike_scans)
            check_memory(image, geometry, plan)
            if self.model.previous is None:
                volume = prepare(image, plan, configuration, geometry=geometry)
            else:
                from medseg.inference.cascade import with_previous  # only cascades need it

                volume = with_previous(self.model, image, self._previous(image, callback))
            others = tuple(predictor.prepare(image, callback) for predictor in self._others)
            return replace(volume, warnings=(*image.warnings, *texts), others=others)

    def labels(
        self,
        volume: Volume,
        callback: Callback = silent,
        sinks: Sequence[Sink] = (),
        observations: Sequence[Observation] = (),
    ) -> NDArray:
        """Predict a prepared scan.

        Args:
            volume: the prepared scan, from `prepare`.
            callback: as in `__call__`.
            sinks: also get the logits on the scan's grid, some planes at a time: for maps of probabilities, say.
            observations: what `observe` returned: they also see the answer while it is computed.

        Returns:
            Label values (z, y, x) on the scan's grid as it is stored.

        Raises:
            MedsegError: there is not enough memory.
        """
        with memory_errors(MEMORY_ADVICE):
            return treated_labels(self, volume, callback, sinks, observations)

    def scan_logits(
        self, volume: Volume, callback: Callback = silent, observations: Sequence[Observation] = ()
    ) -> Iterator[tuple[range, torch.Tensor]]:
        """Yield the logits of a prepared scan on the scan's grid; of several configurations, those of their mean.

        Args:
            volume: the prepared scan, from `prepare`.
            callback: as in `__call__`.
            observations: as in `labels`.

        Yields:
            Numbers of consecutive planes of `volume.geometry.box`, and their logits (outputs, planes, y, x) in float32.

        Raises:
            MedsegError: as `logits`.
        """
        return joint_logits([self, *self._others], volume.together, callback, observations)

    def observe(self, volume: Volume) -> list[Observation]:
        """Return one `Observation` per configuration, which collects statistics while a prepared scan is predicted.

        Args:
            volume: the prepared scan, from `prepare`.
        """
        from medseg.inference.observation import Observation  # only answers that are judged need it

        members = zip([self, *self._others], volume.together, strict=True)
        return [Observation.of(predictor.model, part) for predictor, part in members]

    def measures(
        self, volume: Volume, observations: Sequence[Observation], answer: Image, deep_folds: Collection[str]
    ) -> CaseMeasures:
        """Return the measures of an answer by which its quality is judged.

        Args:
            volume: the prepared scan, from `prepare`.
            observations: saw the answer being computed.
            answer: its label map (1, z, y, x) on the scan's grid.
            deep_folds: folds whose deepest layer is looked at.

        Raises:
            MedsegError: there is not enough memory.
        """
        from medseg.inference.case_measures import case_measures, deep_measures  # only answers that are judged need it

        with memory_errors(MEMORY_ADVICE):
            with self._passes.lock:  # the layer is seen by hooks, which would see other threads' tiles
                deep = deep_measures(self.model, volume, deep_folds, self.precision)
            return case_measures(self.model.plan, volume, observations, answer, deep)

    def logits(
        self, volume: Volume, callback: Callback = silent, observation: Observation | None = None
    ) -> Iterator[torch.Tensor]:
        """Yield the logits of a prepared scan as consecutive slabs (outputs, planes, y, x) on the network's grid.

        Args:
            volume: the prepared scan, from `prepare`.
            callback: as in `__call__`.
            observation: sees tiles and slabs as they pass by.

        Yields:
            Those of this model alone, without others that answer with it (`scan_logits`).

        Raises:
            MedsegError: there is not enough memory for a single tile, or a logit is not finite.
        """
        watch = None if observation is None else observation.watch_tile
        with self._passes.window_pass(volume, self.model.plan.labels.outputs) as window_pass:
            for slab in window_pass.logits(callback, watch):
                check_finite(slab, self.precision)
                if observation is not None:
                    observation.watch_slab(slab)
                yield slab

    def uncertainty(self, volume: Volume, callback: Callback = silent, single: bool = False) -> Iterator[torch.Tensor]:
        """Yield mean and spread of the probabilities over folds and mirrored copies; see `inference.uncertainty`.

        Of several configurations that answer together, those of the first alone; `spread` has those of all.

        Args:
            volume: the prepared scan, from `prepare`.
            callback: as in `__call__`.
            single: whether a single prediction is allowed, whose spread is 0.

        Yields:
            Consecutive slabs (2 x structures, planes, y, x) on the network's grid, means first.

        Raises:
            PlanError: there is only one prediction: one fold without mirrored copies.
            MedsegError: there is not enough memory for a single tile, or a probability is not finite.
        """
        from medseg.inference.uncertainty import SUMS_PER_TILE, stream_uncertainty  # only maps of the spread need it

        labels = self.model.plan.labels
        with self._passes.window_pass(volume, 2 * len(labels.names), SUMS_PER_TILE * len(labels.names)) as window_pass:
            for slab in stream_uncertainty(window_pass, labels, callback, single):
                check_finite(slab, self.precision)
                yield slab

    def spread(self, volume: Volume, sinks: Sequence[Sink], callback: Callback = silent) -> None:
        """Bring mean and spread (see `uncertainty`) to the scan's grid.

        Args:
            volume: the prepared scan, from `prepare`.
            sinks: get (2 x structures, planes, y, x), means first, some planes at a time.
            callback: as in `__call__`.

        Raises:
            PlanError: there is only one prediction: one fold without mirrored copies.
            MedsegError: there is not enough memory.
        """
        with memory_errors(MEMORY_ADVICE):
            if not self.model.others:
                stream_maps(self.uncertainty(volume, callback), volume.geometry, self.configuration, sinks)
                return
            for planes, values in joint_spread([self, *self._others], volume.together, callback):
                for sink in sinks:
                    sink(planes.start, values)

    def warm_up(self) -> None:
        """Compile what is to be compiled, with a batch of empty tiles; the first scan then takes no longer."""
        with memory_errors(MEMORY_ADVICE):
            self._passes.warm_up()
        for predictor in self._others:
            predictor.warm_up()

    def take_notes(self) -> tuple[str, ...]:
        """Return the notes, and forget those on scans that were answered; what holds for every scan stays.

        A predictor that outlives a command must not tell the next one of scans that it has not seen.
        """
        taken = tuple(self.notes)
        lasting = [note for predictor in (self, *self._others) for note in predictor._passes.lasting_notes]
        self.notes[: len(taken)] = lasting  # the list is shared, and another thread may add to its end
        return taken

    @property
    def backend(self) -> str:
        """Name of the backend: torch, OpenVINO or a way of the GPU; final once the first tile was computed."""
        return self._passes.backend

    def volumes(self, labels: Image) -> dict[str, float]:
        """Return {structure: volume} of an answer in ml (the area in mm2 for pictures), in pixels without a spacing."""
        return structure_volumes(labels, self.model.plan.labels, self.model.plan.data.dimensions)

    @cached_property
    def _previous(self) -> Predictor:
        """The first stage of a cascade."""
        assert self.model.previous is not None
        return Predictor(self.model.previous, self.device, compares=False)  # the scan was compared already
