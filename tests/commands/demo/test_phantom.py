"""The phantom set: what is written, that it depends on the seed alone, and that anatomy is where it should be."""

import json

import numpy as np
import pytest
from scipy import ndimage

from medseg.commands.demo.phantom import STRUCTURES, make_phantom, phantom_case
from medseg.core.errors import Cancelled
from medseg.io.images import read_image, read_label
from medseg.io.layouts.find import find_cases

CASES = 12


@pytest.fixture(scope="module")
def cases():
    """Scans and label maps of a dozen cases."""
    return [phantom_case(0, number) for number in range(CASES)]


def centre_mm(label, structure):
    """Centre of mass in RAS mm."""
    z, y, x = np.nonzero(label.array[0] == STRUCTURES.index(structure) + 1)
    return label.affine[:3, :3] @ (x.mean(), y.mean(), z.mean()) + label.affine[:3, 3]


def test_the_data_set_is_found_as_nnunet_lays_it_out(tmp_path):
    make_phantom(tmp_path, 4, seed=7)
    data = find_cases(tmp_path)
    assert (data.layout, data.channels, data.problems) == ("nnunet", ("MR",), [])
    assert data.labels.names == STRUCTURES
    assert [case.id for case in data.cases] == [f"abdomen_{number:03d}" for number in (1, 2, 3, 4)]
    for case in data.cases:
        image, label = read_image(case.channels[0]), read_label(case.label)
        assert image.same_grid(label)
        assert set(np.unique(label.array)) <= {0, 1, 2, 3, 4, 5, 6}
    tests = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("imagesTs", "labelsTs")]
    assert tests == [["abdomen_005_0000.nii.gz"], ["abdomen_005.nii.gz"]]
    assert json.loads((tmp_path / "dataset.json").read_text())["numTraining"] == 4


def test_files_depend_on_the_seed_alone(tmp_path):
    def content(name, cases, seed):
        make_phantom(tmp_path / name, cases, seed)
        return {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.nii.gz")}

    first, again, more, other = content("a", 3, 1), content("b", 3, 1), content("c", 4, 1), content("d", 3, 2)
    assert first == again
    assert first.items() <= more.items()
    assert all(first[name] != other[name] for name in first)


def test_what_is_written_is_what_was_made(tmp_path):
    make_phantom(tmp_path, 1, seed=3)
    scan, label = phantom_case(3, 0)
    for made, path in ((scan, "imagesTr/abdomen_001_0000.nii.gz"), (label, "labelsTr/abdomen_001.nii.gz")):
        written = read_image(tmp_path / path)
        np.testing.assert_array_equal(written.array, made.array)
        np.testing.assert_allclose(written.affine, made.affine)


def test_every_structure_is_there_and_plausibly_large(cases):
    for _, label in cases:
        volumes = label.voxel_volume_ml * np.bincount(label.array.ravel(), minlength=7)[1:]
        liver, spleen, left, right, spine, aorta = volumes
        assert 250 < liver < 1000
        assert all(15 < volume < 250 for volume in (spleen, left, right, spine, aorta))


def test_left_and_right_are_the_patients_own(cases):
    for scan, label in cases:
        assert np.all(np.diag(scan.affine)[:3] > 0)  # RAS: x grows towards the right
        at = {name: centre_mm(label, name) for name in STRUCTURES}
        right, anterior, superior = range(3)
        assert at["liver"][right] > 10
        assert at["kidney_right"][right] > 20
        assert at["kidney_left"][right] < -20
        assert at["spleen"][right] < -40
        assert at["aorta"][right] < at["spine"][right] + 10
        assert at["spine"][anterior] < at["aorta"][anterior] < at["liver"][anterior]
        assert at["kidney_right"][superior] < at["liver"][superior]


def test_structures_hang_together(cases):
    for _, label in cases:
        for value in range(1, 7):
            parts, count = ndimage.label(label.array[0] == value)
            assert np.bincount(parts.ravel())[1:].max() > 0.6 * np.count_nonzero(parts), (value, count)


def test_grids_and_shapes_vary(cases):
    assert len({scan.shape_zyx for scan, _ in cases}) > CASES // 2
    spacings = [tuple(np.round(scan.spacing_mm, 2)) for scan, _ in cases]
    usual = max(spacings.count(spacing) for spacing in spacings)
    assert CASES / 2 < usual < CASES
    for scan, label in cases:
        assert scan.same_grid(label)
        assert 50_000 < scan.array.size < 300_000
    volumes = [np.count_nonzero(label.array == 1) * label.voxel_volume_ml for _, label in cases]
    assert np.std(volumes) > 0.08 * np.mean(volumes)


def test_no_threshold_finds_an_organ(cases):
    """The best window of intensities, chosen with the answer known, stays far from what a network reaches."""
    for value in range(1, 7):
        best = []
        for scan, label in cases[:4]:
            inside = label.array == value
            edges = np.percentile(scan.array, np.linspace(0, 100, 41))
            bins = np.digitize(scan.array, edges)
            hits, total = (np.bincount(bins[mask], minlength=43) for mask in (inside, np.ones_like(inside)))
            windows = ((low, high) for low in range(43) for high in range(low + 1, 44))
            best.append(max(2 * hits[a:b].sum() / (total[a:b].sum() + inside.sum()) for a, b in windows))
        assert np.mean(best) < 0.75, STRUCTURES[value - 1]


def test_progress_and_cancelling(tmp_path):
    events = []
    make_phantom(tmp_path, 3, 0, events.append)
    assert [(event.done, event.total) for event in events] == [(done, 4) for done in range(5)]

    def cancel(event):
        raise Cancelled()

    with pytest.raises(Cancelled):
        make_phantom(tmp_path / "second", 3, 0, cancel)
    assert not (tmp_path / "second/dataset.json").exists()
