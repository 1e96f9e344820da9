"""Zip files from strangers: what could leave its folder, or fill the disk, is refused by name."""

import stat
import zipfile
from pathlib import Path

import pytest

from medseg.core.errors import ModelError
from medseg.models.archive import opened, unpack
from medseg.models.package.read import is_package


def zip_of(path: Path, *members: tuple[str, bytes], mode: int = 0o100644, deflate: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
        for name, content in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            member.compress_type = archive.compression
            archive.writestr(member, content)
    return path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../x", "leads out of its folder"),
        ("a/../../x", "leads out of its folder"),
        ("/etc/x", "is not a relative path"),
        ("C:/x", "is not a relative path"),
        ("a\\..\\x", "is not a relative path"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ModelError, match=why), opened(zip_of(tmp_path / "a.zip", ("fine", b""), (name, b"x"))):
        pass


def test_links_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", ("link", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777)
    with pytest.raises(ModelError, match="'link', which is a link"), opened(path):
        pass


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zip_of(tmp_path / "a.zip", ("a", b"1"), ("a", b"2"))
    with pytest.raises(ModelError, match="'a', which is there twice"), opened(path):
        pass


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", ("a", b"1"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="'a', which is encrypted"), opened(path):
        pass


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x05\x06"])
def test_what_is_no_zip_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.zip is damaged or not a zip file"), opened(tmp_path / "a.zip"):
        pass


def test_a_member_is_unpacked(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    with opened(zip_of(tmp_path / "a.zip", ("a/b", content), deflate=True)) as archive:
        unpack(archive, archive.infolist()[0], tmp_path / "out" / "b", len(content), 1000.0)
    assert (tmp_path / "out" / "b").read_bytes() == content


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", ("a", bytes(1 << 20)), deflate=True)
    with opened(path) as archive:
        for most_bytes, most_ratio in ((1 << 30, 20.0), (1 << 19, 1e6)):
            with pytest.raises(ModelError, match=r"declares 1,048,576 bytes.* zip bomb; nothing was unpacked"):
                unpack(archive, archive.infolist()[0], tmp_path / "out", most_bytes, most_ratio)
    assert not (tmp_path / "out").exists()


def test_more_than_the_disk_holds_is_not_unpacked(tmp_path: Path) -> None:
    with opened(zip_of(tmp_path / "a.zip", ("a", b"x"))) as archive:
        member = archive.infolist()[0]
        member.file_size = 1 << 60
        with pytest.raises(ModelError, match=r"needs 1,152,921,504,606,846,976 bytes, and .* has .* left"):
            unpack(archive, member, tmp_path / "out", 1 << 61, float(1 << 62))


def test_a_member_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", ("a", b"x" * 1000))
    content = path.read_bytes()
    lying = content.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(lying)
    with pytest.raises(ModelError, match="damaged"), opened(path) as archive:
        unpack(archive, archive.infolist()[0], tmp_path / "out", 1 << 20, 100.0)
    assert not (tmp_path / "out").exists() or (tmp_path / "out").stat().st_size <= 10


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(ModelError), opened(zip_of(tmp_path / "a.zip", ("a", b"x"))) as archive:
        unpack(archive, archive.infolist()[0], tmp_path / "out", 10, 10.0)
    assert (tmp_path / "out").read_bytes() == b"mine"


@pytest.mark.parametrize(("place", "value"), [(6, 99), (46, 0xE4)], ids=["a later version", "a name that is not text"])
def test_a_damaged_list_of_members_is_named(tmp_path: Path, place: int, value: int) -> None:
    content = bytearray(zip_of(tmp_path / "a.zip", ("\u00e9", b"x")).read_bytes())
    content[content.index(b"PK\1\2") + place] = value
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ModelError, match="is damaged or not a zip file"), opened(tmp_path / "a.zip"):
        pass
    assert not is_package(tmp_path / "a.zip")


def test_rare_compressions_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("plans.json", b"{}")
    with pytest.raises(ModelError, match="compressed otherwise than by deflate"), opened(tmp_path / "a.zip"):
        pass
