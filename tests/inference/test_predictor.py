"""Image in, labels on its grid out: with a network whose answer is known for every voxel."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from builders import make_plan
from processes.process_memory import resident_bytes

from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError, ScanWarning
from medseg.core.image import Image, Orientation
from medseg.core.machine.host_memory import MEMORY_ADVICE
from medseg.core.progress import Progress
from medseg.inference.passes import add_notes
from medseg.inference.predictor import Predictor
from medseg.inference.volumes import size_unit, structure_volumes
from medseg.models.model import Model, make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, FoldFolder
from medseg.plans.file import save_plan, validate_plan
from medseg.plans.schema import Configuration, Plan


class Threshold(torch.nn.Module):
    """Says `one` where the intensity is above 0.25 and `two` where it is above 0.75."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = torch.nn.Parameter(torch.tensor(10.0))

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        zero = torch.zeros_like(x)
        return [self.sharpness * torch.cat([zero, x - 0.25, 2 * x - 1.0], dim=1)]


def make_threshold(configuration: Configuration, channels: int, outputs: int) -> torch.nn.Module:
    return Threshold()


def threshold_plan(**others: Any) -> Plan:
    configuration = {
        "normalization": [{"scheme": "none"}],
        "patch_voxels": [8, 8, 8],
        **others.pop("configuration", {}),
    }
    labels = {"structures": {"one": 4, "two": 7}}
    return make_plan(others.pop("dimensions", 3), configuration, labels=labels, **others)


def predictor_of(plan: Plan) -> Predictor:
    return Predictor(Model(plan, "main", ("0",), (Threshold(),), Path()), torch.device("cpu"))


def turned_image(seed: int, spacing_known: bool = True) -> tuple[Image, np.ndarray]:
    """An oblique scan with shuffled, reversed axes and a border of zeros, and the labels that belong to it."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, world in enumerate(rng.permutation(3)):
        affine[world, stored] = rng.choice([-1.0, 1.0])
    turn = np.eye(4)
    turn[1:3, 1:3] = [[0.96, -0.28], [0.28, 0.96]]
    array = np.zeros((1, 9, 12, 10), dtype=np.float32)
    array[0, 1:8, 2:11, 3:10] = rng.choice([0.1, 0.5, 1.0], size=(7, 9, 7))
    truth = np.select([array > 0.75, array > 0.25], [7, 4], 0)
    return Image(array, turn @ affine, spacing_known), truth


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("orientation", ["canonical", "stored"])
@pytest.mark.parametrize("mirror", [True, False])
def test_the_answer_lies_where_the_scan_lies(orientation: str, mirror: bool, seed: int) -> None:
    image, truth = turned_image(seed)
    plan = threshold_plan(orientation=orientation, transpose_forward=[seed % 3, (seed + 1) % 3, (seed + 2) % 3])
    plan.inference.mirror = mirror
    answer = predictor_of(plan)(image)
    np.testing.assert_array_equal(answer.array, truth)
    assert answer.array.dtype == np.uint8
    assert answer.affine is image.affine


def test_two_dimensional_models_answer_volumes() -> None:
    image, truth = turned_image(3)
    plan = threshold_plan(dimensions=2, configuration={"patch_voxels": [8, 8]}, orientation="canonical")
    np.testing.assert_array_equal(predictor_of(plan)(image).array, truth)


def test_a_coarser_network_grid_comes_back_to_the_scans_grid() -> None:
    array = np.zeros((1, 10, 20, 20), dtype=np.float32)
    array[:, 2:8, 5:15, 5:15] = 0.5
    image = Image(array, np.eye(4))
    answer = predictor_of(threshold_plan(configuration={"spacing_mm": [2.0, 1.5, 1.5]}))(image)
    assert answer.array.shape == array.shape
    assert (answer.array == np.where(array > 0.25, 4, 0)).mean() > 0.95


def test_volumes_are_in_millilitres_where_the_spacing_is_known() -> None:
    image, truth = turned_image(0)
    predictor = predictor_of(threshold_plan())
    expected = {"one": (truth == 4).sum() / 1000, "two": (truth == 7).sum() / 1000}
    assert predictor.volumes(predictor(image)) == pytest.approx(expected)
    unknown, _ = turned_image(0, spacing_known=False)
    in_voxels = {name: volume * 1000 for name, volume in expected.items()}
    data = {**make_plan().data.model_dump(), "spacing_known": False}
    predictor = predictor_of(threshold_plan(data=data))
    assert predictor.volumes(predictor(unknown)) == pytest.approx(in_voxels)


def test_pictures_have_areas() -> None:
    labels, flat = threshold_plan().labels, np.zeros((1, 1, 4, 5), np.uint8)
    flat[0, 0, :2, :3] = labels.members["one"][0]
    picture = Image(flat, np.diag([0.5, 2.0, 1.0, 1.0]))
    assert structure_volumes(picture, labels, 2)["one"] == 6 * 0.5 * 2
    assert size_unit(picture, 2) == "mm2"
    assert structure_volumes(picture, labels, 3)["one"] == pytest.approx(6 / 1000), "a slice of a volume is 1 mm thick"
    pixels = Image(flat, np.eye(4), spacing_known=False)
    assert (structure_volumes(pixels, labels, 2)["one"], size_unit(pixels, 2)) == (6, "pixels")


def test_a_scan_measured_in_pixels_does_not_go_to_a_model_of_millimetres() -> None:
    unknown, _ = turned_image(0, spacing_known=False)
    with pytest.raises(DataError, match=r"measured in mm; this one is measured in pixels"):
        predictor_of(threshold_plan())(unknown)


@pytest.mark.parametrize("known", [True, False])
def test_the_hint_at_such_a_scan_leads_to_an_answer(known: bool) -> None:
    """A scan in pixels for a model of mm, and the other way round."""
    data = {**make_plan().data.model_dump(), "spacing_known": known}
    image, truth = turned_image(0, spacing_known=not known)
    with pytest.raises(DataError) as caught:
        predictor_of(threshold_plan(data=data))(image)
    numbers = "[Z,Y,X]" if known else "[1,1,1]"
    assert f"--set inference.spacing={numbers}" in str(caught.value.hint)
    plan = threshold_plan(data=data)
    override = f"inference.spacing={numbers}".replace("Z,Y,X", "1,1,1")
    plan = validate_plan(plan.model_dump(), {}, "plan", [override])
    np.testing.assert_array_equal(predictor_of(plan)(image).array, truth)


def test_volumes_of_regions_count_every_value_that_belongs_to_them() -> None:
    labels = {"structures": {"whole": [1, 2], "core": 2}, "activation": "sigmoid", "region_values": [1, 2]}
    predictor = predictor_of(make_plan(labels=labels))
    array = np.zeros((1, 2, 5, 10), dtype=np.uint8)
    array[0, 0, 0], array[0, 1, 1, :3] = 1, 2
    volumes = predictor.volumes(Image(array, np.diag([10.0, 10.0, 10.0, 1.0])))
    assert volumes == pytest.approx({"whole": 13.0, "core": 3.0})


def test_a_structure_that_is_absent_has_no_volume() -> None:
    predictor = predictor_of(threshold_plan())
    assert predictor.volumes(Image(np.zeros((1, 2, 2, 2), dtype=np.uint8), np.eye(4))) == {"one": 0.0, "two": 0.0}


def test_a_scan_with_other_channels_is_refused() -> None:
    with pytest.raises(DataError, match="has 2 channels"):
        predictor_of(threshold_plan())(Image(np.zeros((2, 4, 4, 4)), np.eye(4)))


def test_a_model_folder_is_loaded_with_its_own_network(tmp_path: Path) -> None:
    plan = threshold_plan()
    fold = tmp_path / "toy" / "main" / "fold_0"
    save_plan(plan, fold / PLAN)
    save_weights(Threshold(), FoldFolder(fold), RunRecord(configuration="main", network_factory="make_threshold"))
    predictor = Predictor.load(fold.parent, "cpu", overrides=["inference.mirror=true"], factory=make_threshold)
    assert predictor.model.plan.inference.mirror
    for folds in (0, "0", [0], ("0",)):  # as they are typed, and as numbers
        assert Predictor.load(fold.parent, "cpu", folds, factory=make_threshold).model.folds == ("0",)
    image, truth = turned_image(1)
    np.testing.assert_array_equal(predictor(image).array, truth)


def test_a_simpleitk_image_is_answered_by_one_on_its_grid() -> None:
    sitk = pytest.importorskip("SimpleITK")
    image, truth = turned_image(4)
    scan = image.to_sitk()
    answer = predictor_of(threshold_plan(orientation="canonical"))(scan)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(answer), truth[0])
    assert answer.GetPixelID() == sitk.sitkUInt8
    for key in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(answer, key)(), getattr(scan, key)(), atol=1e-9)
    flat = image.to_sitk()[:, :, 3]
    answer = predictor_of(threshold_plan(dimensions=2, configuration={"patch_voxels": [8, 8]}))(flat)
    assert (answer.GetDimension(), answer.GetSize()) == (2, flat.GetSize())


def test_nibabel_images_and_arrays_are_answered_in_kind() -> None:
    nib = pytest.importorskip("nibabel")
    image, truth = turned_image(4)
    predictor = predictor_of(threshold_plan(orientation="canonical"))
    answer = predictor(nib.Nifti1Image(image.array[0].T, image.affine))
    np.testing.assert_array_equal(np.asarray(answer.dataobj).T, truth[0])
    with pytest.warns(ScanWarning, match="how it lies"):
        labels = predictor(image.array[0], spacing=image.spacing_mm)
    np.testing.assert_array_equal(labels, truth[0])
    with pytest.raises(DataError, match="measured in mm"):
        predictor(image.array[0])


def test_no_files_and_a_spacing_beside_a_file_are_refused(tmp_path: Path) -> None:
    predictor = predictor_of(threshold_plan())
    with pytest.raises(DataError, match="an empty list; expected its files"):
        predictor([])
    with pytest.raises(DataError, match="spacing was given for a file"):
        predictor(str(tmp_path / "scan.nii.gz"), spacing=(1, 1, 1))


def test_the_scan_is_not_changed() -> None:
    image, _ = turned_image(2)
    copy = image.array.copy()
    predictor_of(threshold_plan(orientation="canonical"))(image)
    np.testing.assert_array_equal(image.array, copy)
    assert Orientation.of(image) != Orientation()


def test_progress_comes_by_tiles_and_a_cancelled_predictor_stays_usable() -> None:
    image, truth = turned_image(0)
    predictor, events = predictor_of(threshold_plan()), []

    def stop(event: Progress) -> None:
        events.append(event)
        if event.done:
            raise Cancelled

    with pytest.raises(Cancelled):
        predictor(image, stop)
    assert [event.stage for event in events] == ["tiles"] * len(events)
    np.testing.assert_array_equal(predictor(image).array, truth)


def test_memory_that_runs_short_is_said_and_remembered() -> None:
    class Small(Threshold):
        def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
            if len(x) > 1:
                raise torch.OutOfMemoryError("out of memory: tried to allocate 1.00 GiB")
            return super().forward(x)

    image, truth = turned_image(0)
    model = Model(threshold_plan(), "main", ("0",), (Small(),), Path())
    predictor, notes = Predictor(model, torch.device("cpu")), []
    for _ in range(2):
        answer = predictor(image, lambda event: notes.append(event.info.get("note")))
        np.testing.assert_array_equal(answer.array, truth)
    (note,) = filter(None, notes)  # the second scan begins with what the first has shown to fit
    assert note == "Not enough memory: now 1 of the tiles at once (out of memory: tried to allocate 1.00 GiB)."
    assert predictor.notes == [note]
    assert predictor.take_notes() == (note,)
    assert predictor.take_notes() == ()


def test_what_holds_for_every_scan_is_noted_for_each_command() -> None:
    predictor = predictor_of(threshold_plan())
    predictor._passes._note("The backend is slow.")
    predictor.notes.append("A scan was large.")
    assert predictor.take_notes() == ("The backend is slow.", "A scan was large.")
    assert predictor.take_notes() == ("The backend is slow.",)
    add_notes(predictor.notes, ["again", "again", *map(str, range(50))])
    assert predictor.notes[:3] == ["The backend is slow.", "again", "0"]
    assert len(predictor.notes) == 20


def test_a_file_is_read_as_medseg_predict_reads_it(tmp_path: Path) -> None:
    predictor = predictor_of(threshold_plan())
    image, truth = turned_image(0)
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(image.array[0].transpose(2, 1, 0), image.affine), path)
    for scan in (path, str(path), [path]):
        np.testing.assert_array_equal(predictor(scan).array, truth)
    with pytest.raises(DataError, match=r"2 channels|expected 1"):
        predictor([path, path])
    with pytest.raises(DataError, match=r"none\.nii\.gz"):
        predictor(tmp_path / "none.nii.gz")


def test_a_run_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = threshold_plan()
    fold = FoldFolder(tmp_path / "runs/toy/main/fold_0")
    save_plan(plan, fold.path / PLAN)
    save_weights(Threshold(), fold, RunRecord(configuration="main"))
    monkeypatch.chdir(tmp_path)
    for name in ("toy/main", "toy", "runs/toy/main"):
        assert Predictor.load(name, "cpu", factory=make_threshold).model.configuration_name == "main"
    with pytest.raises(ModelError, match=r"No trained model fits 'toy/other'; there are toy/main"):
        Predictor.load("toy/other", "cpu")


def test_two_threads_get_the_answers_that_they_would_get_alone() -> None:
    plan = threshold_plan()
    predictor, images = predictor_of(plan), [turned_image(seed) for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(predictor, [image for image, _ in images] * 5))
    for answer, (_, truth) in zip(answers, images * 5, strict=True):
        np.testing.assert_array_equal(answer.array, truth)


class OneBuffer(Threshold):
    """Writes every answer of one shape into the same tensor, as a recorded graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: dict[torch.Size, torch.Tensor] = {}

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        (answer,) = super().forward(x)
        return [self.buffers.setdefault(answer.shape, torch.empty_like(answer)).copy_(answer)]


def test_two_threads_share_a_network_that_answers_with_one_buffer() -> None:
    """The second thread predicts while the first one still reads its answer."""
    model = Model(threshold_plan(), "main", ("0",), (OneBuffer(),), Path())
    predictor = Predictor(model, torch.device("cpu"))
    (image, truth), (other, other_truth) = turned_image(0), turned_image(1)
    (member,) = predictor._passes._make_members(1)
    tiles = torch.linspace(0, 1, 512).reshape(1, 1, 8, 8, 8)
    answer = member(tiles)
    expected = answer.clone()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(member, 1 - tiles).result()
    assert torch.equal(answer, expected)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(predictor, [image, other] * 5))
    for found, labels in zip(answers, [truth, other_truth] * 5, strict=True):
        np.testing.assert_array_equal(found.array, labels)


def real_predictor(**inference: Any) -> Predictor:
    torch.manual_seed(0)
    plan = make_plan(3, {"patch_voxels": [16, 16, 16]})
    for key, value in inference.items():
        setattr(plan.inference, key, value)
    network = make_network(plan, plan.configuration("main"))
    return Predictor(Model(plan, "main", ("0",), (network,), Path()), torch.device("cpu"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_scan_gets_the_same_answer(precision: str) -> None:
    image, _ = turned_image(1)
    answers = []
    for _ in range(2):
        predictor = real_predictor(precision=precision, mirror=True)
        predictor.warm_up()
        volume = predictor.prepare(image)
        answers += [torch.cat(list(predictor.logits(volume)), dim=1) for _ in range(2)]
    assert all(torch.equal(answer, answers[0]) for answer in answers)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_a_hundred_calls_leave_nothing_behind(backend: str) -> None:
    """Two shapes in turn, after a warm-up: what stays, in new tensors and in the process's memory."""
    predictor = real_predictor(backend=backend)
    small, large = (Image(np.random.default_rng(0).normal(size=(1, n, 24, 24)), np.eye(4)) for n in (16, 30))
    for _ in range(10):
        predictor(small), predictor(large)
    before = resident_bytes()
    for _ in range(50):
        predictor(small), predictor(large)
    assert resident_bytes() - before < 16 << 20


def test_nan_around_a_scan_is_answered_as_nothing_with_a_warning() -> None:
    image, _ = turned_image(0)
    around = np.zeros(image.array.shape, bool)
    around[:, :2] = True
    filled = image.with_array(np.where(around, 0, image.array))
    with pytest.warns(ScanWarning, match=r"The scan: \d+ of \d+ voxels are NaN, all at the edge .* read as 0"):
        answer = predictor_of(threshold_plan())(image.with_array(np.where(around, np.nan, image.array)))
    np.testing.assert_array_equal(answer.array, predictor_of(threshold_plan())(filled).array)
    assert answer.array.any()


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_an_answer_that_is_not_finite_is_refused(odd: float) -> None:
    class Odd(Threshold):
        def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
            (logits,) = super().forward(x)
            return [torch.where(x > 0.9, odd, logits)]

    plan = threshold_plan()
    model = Model(plan, plan.default_configuration, ("0",), (Odd(),), Path())
    image, array = turned_image(0)
    assert (array > 0.9).any()
    predictor = Predictor(model, torch.device("cpu"))
    with pytest.raises(MedsegError, match=r"NaN or infinite at some voxels, computed in float32"):
        predictor(image)
    volume = predictor.prepare(image)
    with pytest.raises(MedsegError, match=r"NaN or infinite at some voxels, computed in float32"):
        list(predictor.uncertainty(volume, single=True))


@pytest.mark.parametrize("error", [MemoryError("9 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_runs_out_while_restoring_ends_with_advice(error: Exception) -> None:
    image, _ = turned_image(0)
    predictor = predictor_of(threshold_plan(inference={**make_plan().inference.model_dump(), "mirror": True}))

    def fail(start: int, values: torch.Tensor) -> None:
        raise error

    volume = predictor.prepare(image)
    for work in (lambda: predictor.labels(volume, sinks=[fail]), lambda: predictor.spread(volume, [fail])):
        with pytest.raises(MedsegError, match="There is not enough memory") as caught:
            work()
        assert caught.value.hint == MEMORY_ADVICE
