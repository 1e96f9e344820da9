"""What a viewer page shows: sizes, numbers and centres that can be counted by hand."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from medseg.core.colours import rgb_number
from medseg.core.image import Image
from medseg.delivery.viewer.scene import make_scene, thin, thinning

AFFINE = np.diag([1.0, 2.0, 5.0, 1.0])


def label_of(array: np.ndarray) -> Image:
    return Image(array[None], AFFINE)


def test_structures_of_two_label_maps() -> None:
    scan = Image(np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4), AFFINE)
    first, second = np.zeros((2, 2, 3, 4), np.int32)
    first[0, 0, :2] = 7
    first[1, 2, 3] = 300
    second[1, :, 0] = 300
    scene = make_scene("a", scan, {"answer": label_of(first), "reference": label_of(second)}, {7: "liver"})
    assert [(part.name, part.value) for part in scene.structures] == [("liver", 7), ("value 300", 300)]
    assert scene.structures[0].sizes == ("0.02 ml", "")  # 2 voxels of 10 mm3
    assert scene.structures[1].sizes == ("0.01 ml", "0.03 ml")
    assert [part.centre_mm for part in scene.structures] == [(0, 0, 0), (3, 4, 5)]
    assert scene.layers["answer"].dtype == np.uint8
    np.testing.assert_array_equal(scene.layers["answer"], np.where(first == 7, 1, np.where(first == 300, 2, 0)))
    assert scene.notes == ()


def test_a_structure_has_its_colour_whether_or_not_others_are_there() -> None:
    label = np.full((1, 2, 2), 300)
    scene = make_scene("a", label_of(label), {"answer": label_of(label)}, {7: "liver", 300: "spleen"})
    assert [(part.name, part.colour) for part in scene.structures] == [("spleen", rgb_number(1))]


def test_more_than_255_values_have_numbers_of_their_own() -> None:
    values = np.arange(400).reshape(1, 20, 20)
    scene = make_scene("a", Image(values[None], AFFINE), {"answer": label_of(values)}, {})
    np.testing.assert_array_equal(scene.layers["answer"], values)  # value 0 is the background, 1 is number 1
    assert len(scene.structures) == 399


def test_ct_gets_the_windows_of_ct() -> None:
    air = np.linspace(-1000, 1000, 60).reshape(1, 3, 4, 5)
    assert next(iter(make_scene("a", Image(air, AFFINE), {}, {}).windows.values())) == (-160.0, 240.0)
    assert next(iter(make_scene("a", Image(air + 1000, AFFINE), {}, {}).windows)) == "automatic"
    flat = make_scene("a", Image(np.full((1, 3, 4, 5), np.nan), AFFINE), {}, {})
    assert flat.windows == {"all values": (0.0, 1.0)}


@pytest.mark.parametrize("shape", [(300, 512, 512), (1, 30000, 20000), (4000, 40, 40), (2000, 2000, 2000)])
@pytest.mark.parametrize("spacing_mm", [(1.0, 0.7, 0.7), (0.1, 3.0, 3.0), (1.0, 1.0, 1.0)])
def test_thinned_volumes_fit(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
    most = 1_000_000
    steps = thinning(shape, spacing_mm, most)
    assert prod(-(-size // step) for size, step in zip(shape, steps, strict=True)) <= most
    assert thinning(shape, spacing_mm, prod(shape)) == (1, 1, 1)


def test_a_thinned_voxel_stays_where_it_is() -> None:
    image = Image(np.arange(4 * 5 * 6).reshape(1, 4, 5, 6), AFFINE)
    thinned = thin(image, (2, 1, 3))
    assert thinned.shape_zyx == (2, 5, 2)
    assert thinned.array[0, 1, 2, 1] == image.array[0, 2, 2, 3]
    np.testing.assert_allclose(thinned.affine @ [1, 2, 1, 1], image.affine @ [3, 2, 2, 1])
