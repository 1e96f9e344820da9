"""Planes to a NIfTI file, whichever of the file's axes they lie across."""

import gzip
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.core.errors import DataError, MedsegError
from medseg.core.image import Image
from medseg.io.formats.nifti_stream import writing_planes

AFFINE = np.array([[0.0, -1.5, 0.1, 5.0], [2.0, 0.0, 0.0, -7.0], [0.0, 0.3, 3.0, 9.0], [0.0, 0.0, 0.0, 1.0]])
TURNS = [(axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)]


def grid(shape: tuple[int, int, int]) -> Image:
    return Image(np.zeros((1, *shape), np.uint8), AFFINE)


def random_values(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def stored(path: Path) -> NDArray:
    """(z, y, x) as nibabel reads them."""
    return nib.load(path).get_fdata().transpose()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("axes", "flips"), TURNS)
def test_planes_in_any_order_of_axes(
    tmp_path: Path, axes: tuple[int, ...], flips: tuple[int, ...], suffix: str
) -> None:
    values = random_values((5, 4, 3))

    def turn(array: NDArray) -> NDArray:
        z, y, x = (slice(None, None, way) for way in flips)
        return array.transpose(0, *(axis + 1 for axis in axes))[:, z, y, x]

    expected = turn(values[None])[0]
    path = tmp_path / f"map{suffix}"
    with writing_planes(path, grid(expected.shape), None, (values.shape, turn)) as write:
        write(0, values[:2])
        write(2, values[2:3])
        write(3, values[3:])
    np.testing.assert_array_equal(stored(path), expected)
    np.testing.assert_allclose(nib.load(path).affine, AFFINE, atol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_planes_that_do_not_come_hold_the_value_outside(tmp_path: Path) -> None:
    values = random_values((9, 4, 3))
    path = tmp_path / "map.nii.gz"
    with writing_planes(path, grid((9, 4, 3)), None, outside=0.25) as write:
        write(2, values[2:4])
        write(6, values[6:7])
    read = stored(path)
    for plane in range(9):
        np.testing.assert_array_equal(read[plane], values[plane] if plane in (2, 3, 6) else 0.25)
    with writing_planes(path, grid((9, 4, 3)), None, outside=1):
        pass
    assert (stored(path) == 1).all()


def test_sixteen_bits_hold_shares_to_five_digits(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(5, 4, 3)
    path = tmp_path / "map.nii"
    with writing_planes(path, grid((5, 4, 3)), None, outside=1, largest=1) as write:
        write(0, values[:4])
    read = nib.load(path)
    assert read.get_data_dtype() == np.uint16
    np.testing.assert_allclose(stored(path)[:4], values[:4], atol=0.51 / 65535)
    assert stored(path)[4] == pytest.approx(1)


def test_the_geometry_fields_are_those_of_the_scan(tmp_path: Path, save_nifti: Callable[..., Path]) -> None:
    scan = save_nifti(tmp_path / "scan.nii.gz", np.zeros((5, 4, 3), np.int16), AFFINE)
    with writing_planes(tmp_path / "map.nii.gz", grid((5, 4, 3)), scan) as write:
        write(0, random_values((5, 4, 3)))
    mine, theirs = nib.load(tmp_path / "map.nii.gz").header, nib.load(scan).header
    for field in ("pixdim", "sform_code", "qform_code", "srow_x", "quatern_b", "qoffset_x", "dim"):
        np.testing.assert_array_equal(mine[field], theirs[field])
    with pytest.raises(DataError, match="another grid"), writing_planes(tmp_path / "no.nii", grid((5, 4, 4)), scan):
        pass
    assert not (tmp_path / "no.nii").exists()


def test_a_large_volume_is_turned_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.io.formats.nifti_stream._MOST_VOXELS", 7)
    values = random_values((6, 5, 4))
    with writing_planes(tmp_path / "map.nii", grid((4, 5, 6)), None, ((6, 5, 4), lambda a: a.swapaxes(1, 3))) as write:
        write(3, values[3:])
    expected = values.copy()
    expected[:3] = 0
    np.testing.assert_array_equal(stored(tmp_path / "map.nii"), expected.transpose())


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        with writing_planes(tmp_path / name, grid((5, 4, 3)), None) as write:
            write(0, random_values((5, 4, 3)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + 60 * 4


def test_what_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> None:
        with writing_planes(tmp_path / "map.nii.gz", grid((5, 4, 3)), None) as write:
            write(0, random_values((2, 4, 3)))
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("first", "shape"), [(1, (2, 4, 3)), (4, (2, 4, 3)), (3, (1, 3, 4))])
def test_planes_out_of_order_are_a_mistake(tmp_path: Path, first: int, shape: tuple[int, int, int]) -> None:
    with writing_planes(tmp_path / "map.nii", grid((5, 4, 3)), None) as write:
        write(0, random_values((2, 4, 3)))
        with pytest.raises(ValueError, match="do not come after 2 planes"):
            write(first, random_values(shape))


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writing = writing_planes(tmp_path / "file" / "map.nii", grid((5, 4, 3)), None)
    with pytest.raises(MedsegError, match=r"map\.nii cannot be written"), writing:
        pass
