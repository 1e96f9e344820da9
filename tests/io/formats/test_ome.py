"""OME-TIFF of several files: read whole from the first one, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from medseg.core.errors import DataError
from medseg.io.images import read_image, read_label
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.folder_of_scans import scans_of_folder
from medseg.io.several_files import files_of

PLANES = np.arange(3 * 8 * 10, dtype=np.uint16).reshape(3, 8, 10)
HEAD = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def uuid(number: int) -> str:
    return f"urn:uuid:{number:08d}-0000-0000-0000-000000000000"


def xml(number: int, names: list[str], axis: str = "Z") -> str:
    planes = "".join(
        f'<TiffData First{axis}="{plane}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">{uuid(plane)}</UUID></TiffData>'
        for plane, name in enumerate(names)
    )
    sizes = {"Z": 1, "C": 1, "T": 1, axis: len(names)}
    shape = " ".join(f'Size{name}="{size}"' for name, size in sizes.items())
    return (
        f'{HEAD} UUID="{uuid(number)}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        f'SizeX="10" SizeY="8" {shape} PhysicalSizeX="1000" PhysicalSizeY="1000" PhysicalSizeZ="2000">'
        f"{planes}</Pixels></Image></OME>"
    )


def write_set(folder: Path, axis: str = "Z", **options) -> list[Path]:
    paths = [folder / f"scan_{number}.ome.tif" for number in range(3)]
    for number, path in enumerate(paths):
        text = xml(number, [path.name for path in paths], axis).encode()
        tifffile.imwrite(path, PLANES[number], description=text, metadata=None, **options)
    return paths


def test_a_set_is_read_whole_from_its_first_file(tmp_path):
    first, *others = write_set(tmp_path)
    image = read_image(first)
    np.testing.assert_array_equal(image.array[0], PLANES)
    assert image.spacing_mm == (2.0, 1.0, 1.0)
    np.testing.assert_array_equal(read_label(first).array[0], PLANES)
    assert files_of(first) == [first, *others]
    for other in others:
        with pytest.raises(DataError, match=rf"{other.name} is one of the 3 files of the OME image .* {first.name}"):
            read_image(other)


def test_channels_in_files_of_their_own(tmp_path):
    first, *_ = write_set(tmp_path, "C")
    np.testing.assert_array_equal(read_image(first).array[:, 0], PLANES)


def test_files_that_are_packed_by_what_pillow_unpacks(tmp_path):
    paths = write_set(tmp_path)
    from PIL import Image as pillow

    for number, path in enumerate(paths):
        text = xml(number, [path.name for path in paths])
        pillow.fromarray(PLANES[number]).save(path, compression="tiff_lzw", description=text)
    np.testing.assert_array_equal(read_image(paths[0]).array[0], PLANES)


@pytest.mark.parametrize("read", [0, 2])
def test_a_file_that_is_missing_is_named(tmp_path, read):
    paths = write_set(tmp_path)
    paths[1].unlink()
    with pytest.raises(DataError, match=r"of which scan_1\.ome\.tif is not beside it"):
        read_image(paths[read])
    paths[0].rename(tmp_path / "renamed.ome.tif")
    with pytest.raises(DataError, match=r"not beside it"):
        read_image(tmp_path / "renamed.ome.tif")


def test_no_file_outside_the_folder_is_opened(tmp_path):
    (tmp_path / "inner").mkdir()
    paths = write_set(tmp_path)
    text = xml(0, ["inner.ome.tif", "../scan_1.ome.tif"]).encode()
    tifffile.imwrite(tmp_path / "inner" / "inner.ome.tif", PLANES[0], description=text, metadata=None)
    with pytest.raises(DataError, match=r"lie in \.\./scan_1\.ome\.tif, which is no name of a file beside it"):
        read_image(tmp_path / "inner" / "inner.ome.tif")
    assert files_of(tmp_path / "inner" / "inner.ome.tif") == [tmp_path / "inner" / "inner.ome.tif"]
    assert len(paths) == 3


def test_a_part_that_another_file_describes_is_refused(tmp_path):
    text = f'{HEAD} UUID="{uuid(1)}"><BinaryOnly MetadataFile="all.companion.ome" UUID="{uuid(0)}"/></OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", PLANES[0], description=text.encode(), metadata=None)
    with pytest.raises(DataError, match=r"a\.ome\.tif holds a part of an OME image that all\.companion\.ome describes"):
        read_image(tmp_path / "a.ome.tif")


def test_a_single_file_that_was_renamed_is_read(tmp_path):
    text = xml(0, ["before.ome.tif"]).encode()
    tifffile.imwrite(tmp_path / "after.ome.tif", PLANES[0], description=text, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "after.ome.tif").array[0, 0], PLANES[0])


def test_a_set_is_one_case(tmp_path):
    """In a data set and among scans: the other files are read with the first one, and are no cases."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    write_set(tmp_path / "images")
    tifffile.imwrite(tmp_path / "labels" / "scan_0.ome.tif", (PLANES > 100).astype(np.uint8))
    data = find_cases(tmp_path)
    assert [case.channels for case in data.cases] == [(tmp_path / "images" / "scan_0.ome.tif",)]
    assert data.problems == []
    files, problems = scans_of_folder(tmp_path / "images", ["channel"])
    assert (len(files), problems) == (1, {})
    (tmp_path / "images" / "scan_0.ome.tif").unlink()
    files, _ = scans_of_folder(tmp_path / "images", ["channel"])
    assert len(files) == 2, "without the first file each is named when it is read"
