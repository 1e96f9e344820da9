"""A machine without the device files of a GPU has none; elsewhere torch is asked."""

import pytest

from medseg.core.machine.gpu_drivers import can_have_gpu


def test_without_device_files_there_is_no_gpu(tmp_path):
    (tmp_path / "null").touch()
    assert not can_have_gpu(tmp_path, "linux")


@pytest.mark.parametrize("name", ["nvidia0", "nvidiactl", "nvhost-gpu", "nvmap", "kfd", "dxg"])
def test_with_a_device_file_torch_is_asked(tmp_path, name):
    (tmp_path / name).touch()
    assert can_have_gpu(tmp_path, "linux")


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_no_such_files(tmp_path, platform):
    assert can_have_gpu(tmp_path, platform)


def test_it_never_says_no_where_torch_finds_one():
    torch = pytest.importorskip("torch")
    assert can_have_gpu() or not torch.cuda.is_available()
