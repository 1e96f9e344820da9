"""Maps of probability and doubt, from logits to the scan's own grid."""

from contextlib import ExitStack
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from builders import make_configuration, make_image, make_plan
from numpy.typing import NDArray

from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.io.formats.nifti_stream import writing_planes
from medseg.preprocessing.maps import entropy, map_sink, probabilities
from medseg.preprocessing.restore import restore, stream_maps
from medseg.preprocessing.volume import prepare

LABELS = Labels(structures={"one": 3, "two": 200})
REGIONS = Labels(structures={"both": [3, 200], "two": 200}, activation="sigmoid", region_values=[3, 200])
OBLIQUE = np.array([[0.0, -0.9, 0.1, 5.0], [-1.1, 0.0, 0.0, -7.0], [0.0, 0.2, -2.0, 9.0], [0.0, 0.0, 0.0, 1.0]])


def voxel(*logits: float) -> torch.Tensor:
    return torch.tensor(logits, dtype=torch.float32).reshape(-1, 1, 1, 1)


def test_probabilities_by_hand() -> None:
    shares = probabilities(LABELS)(voxel(0.0, np.log(2), np.log(5)))
    assert shares.ravel().tolist() == pytest.approx([2 / 8, 5 / 8])
    assert probabilities(REGIONS)(voxel(0.0, np.log(3))).ravel().tolist() == pytest.approx([0.5, 0.75])


def test_doubt_is_zero_where_one_answer_is_certain_and_one_where_all_are_equal() -> None:
    assert entropy(LABELS)(voxel(7, 7, 7)).item() == pytest.approx(1)
    assert entropy(LABELS)(voxel(-200, 0, -300)).item() == 0
    assert entropy(LABELS)(voxel(5, 5, -200)).item() == pytest.approx(np.log(2) / np.log(3))
    assert entropy(REGIONS)(voxel(0, 0)).item() == pytest.approx(1)
    assert entropy(REGIONS)(voxel(-300, 0)).item() == pytest.approx(0.5)
    assert entropy(REGIONS)(voxel(300, -300)).item() == 0
    quarter = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert entropy(REGIONS)(voxel(300, np.log(3))).item() == pytest.approx(quarter / 2)


def scan() -> Image:
    """A box of content in an oblique scan, stored in another order than the canonical one."""
    array = np.zeros((1, 7, 9, 8), np.int16)
    array[0, 1:6, 2:8, 0:7] = 5
    return Image(array, OBLIQUE)


@pytest.mark.parametrize("labels", [LABELS, REGIONS])
def test_maps_agree_with_the_labels_voxel_by_voxel(labels: Labels, tmp_path: Path) -> None:
    image = scan()
    plan = make_plan(
        configuration={"spacing_mm": [1.5, 1.3, 0.7]}, transpose_forward=[1, 2, 0], labels=labels.model_dump()
    )
    configuration = plan.configuration("main")
    geometry = prepare(image, plan, configuration).geometry
    assert geometry.stored_shape == (7, 9, 8)
    assert geometry.network_shape != geometry.cropped_shape
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(labels.outputs, *geometry.network_shape))) * 3
    names = [*labels.names, "doubt"]
    with ExitStack() as stack:
        writes = [
            stack.enter_context(
                writing_planes(tmp_path / f"{name}.nii.gz", image, None, (geometry.turned_shape, geometry.stored))
            )
            for name in names
        ]
        sinks = [
            map_sink(geometry, probabilities(labels), writes[:-1]),
            map_sink(geometry, entropy(labels), writes[-1:]),
        ]
        answer = restore(logits.float().split(2, dim=1), geometry, labels, configuration, sinks)
    maps: list[NDArray] = [nib.load(tmp_path / f"{name}.nii.gz").get_fdata().transpose() for name in names]
    inside = image.array[0] != 0
    for one in maps:
        assert not one[~inside].any()
    # noise, of which no voxel's decision is as close as rounding: the least margin of a thousand is about 1e-3
    np.testing.assert_array_equal(answer, restore([logits.float()], geometry, labels, configuration))
    if labels.activation == "softmax":
        assert len(np.unique(answer)) == 3
        background = 1 - maps[0] - maps[1]
        winner = np.stack([background, *maps[:2]]).argmax(0)
        np.testing.assert_array_equal(np.array([0, 3, 200])[winner], answer)
    else:
        np.testing.assert_array_equal(np.where(maps[1] > 0.5, 200, np.where(maps[0] > 0.5, 3, 0)), answer)
    assert 0 <= maps[-1].min() <= maps[-1].max() <= 1


def test_any_values_of_the_networks_grid_can_be_streamed() -> None:
    image = make_image(np.ones((4, 6, 6)), (2.0, 1.0, 1.0))
    plan = make_plan(configuration={"spacing_mm": [1.0, 1.0, 1.0]})
    geometry = prepare(image, plan, plan.configuration("main")).geometry
    assert geometry.network_shape == (8, 6, 6)
    ramp = torch.arange(8.0)[None, :, None, None].expand(1, 8, 6, 6)
    came: list[NDArray] = []
    sink = map_sink(geometry, lambda values: values * 10, [lambda first, planes: came.append(planes)])
    stream_maps(ramp.split(3, dim=1), geometry, make_configuration(), [sink])
    assert np.concatenate(came)[:, 0, 0].tolist() == [5, 25, 45, 65]
