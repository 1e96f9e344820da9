"""How medseg is packaged: the lock file, the conda recipe and the Dockerfiles follow from pyproject.toml."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from paths import ROOT
from ruamel.yaml import YAML

import medseg

if sys.version_info < (3, 11):
    pytest.skip("tomllib is in Python from 3.11 on", allow_module_level=True)
import tomllib

sys.path.insert(0, str(ROOT / "docker"))
from without_docker import build, instructions

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "isal": "python-isal"}
DOCKERFILES = sorted(ROOT.glob("docker/*/Dockerfile"))


def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


def test_lock_file_is_current() -> None:
    """After a change of pyproject.toml: `uv lock`."""
    (medseg,) = (package for package in lock()["package"] if package["name"] == "medseg")
    locked = {
        (entry["name"], SpecifierSet(entry.get("specifier", ""))) for entry in medseg["metadata"]["requires-dist"]
    }
    extras = PROJECT["optional-dependencies"]
    stated = [
        Requirement(text) for text in [*PROJECT["dependencies"], *(text for key in extras for text in extras[key])]
    ]
    wanted = {(canonicalize_name(one.name), one.specifier) for one in stated if one.name != PROJECT["name"]}
    assert locked == wanted
    assert sorted(medseg["metadata"]["provides-extras"]) == sorted(extras)


def test_lock_file_names_only_public_hosts() -> None:
    text = (ROOT / "uv.lock").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+://([^/\"]+)", text)) == {"pypi.org", "files.pythonhosted.org"}


def test_lock_file_has_the_torch_that_is_tested() -> None:
    (torch,) = (package["version"] for package in lock()["package"] if package["name"] == "torch")
    assert f"pip install torch=={torch}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_conda_recipe_needs_what_pyproject_does() -> None:
    recipe = YAML(typ="safe").load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    stated = {name: spec for name, _, spec in (text.partition(" ") for text in recipe["requirements"]["run"])}
    assert stated.pop("python") == ">=${{ python_min }}"
    assert SpecifierSet(f">={recipe['context']['python_min']}") == SpecifierSet(PROJECT["requires-python"])
    wanted = [Requirement(text) for text in PROJECT["dependencies"]]
    names = {CONDA_NAMES.get(one.name, one.name.lower()): one.specifier for one in wanted}
    assert {name: SpecifierSet(spec) for name, spec in stated.items()} == names
    assert recipe["build"]["python"]["entry_points"] == [f"medseg = {PROJECT['scripts']['medseg']}"]


def test_conda_recipe_has_the_version_of_the_package() -> None:
    recipe = YAML(typ="safe").load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == medseg.__version__


def test_conda_recipe_renders() -> None:
    rattler_build = pytest.importorskip("rattler_build", reason="py-rattler-build is not installed")
    recipe = rattler_build.Stage0Recipe.from_file(str(ROOT / "conda" / "recipe.yaml"))
    (variant,) = recipe.render(rattler_build.VariantConfig())
    assert str(variant.recipe.package.name) == "medseg"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfiles_run_medseg_as_a_user_without_rights(path: Path, tmp_path: Path) -> None:
    stage = build(path, tmp_path, {}, None)
    assert stage.entry_point == ["medseg"]
    assert stage.user not in ("root", "0")
    assert stage.environment["HOME"] == stage.environment["NUMBA_CACHE_DIR"].removesuffix("/numba") == "/tmp"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfiles_copy_what_is_there(path: Path) -> None:
    """And what `.dockerignore`, which lists what goes in, lets through."""
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [rest.split()[:-1] for name, rest in instructions(path) if name == "COPY" and "--from" not in rest]
    for source in [name for names in copied for name in names]:
        assert (ROOT / source).exists()
        assert f"!{source}" in let_through


def test_both_images_are_there() -> None:
    assert [path.parent.name for path in DOCKERFILES] == ["cpu", "cuda"]
