"""Networks that do not fit the plan, or lack levels of deep supervision, are refused when it is made."""

from pathlib import Path

import pytest
from small_sets import write_data, write_pictures

import medseg
from medseg.core.errors import PlanError

COLOURS = medseg.DataOptions(colours=["red=#ff0000", "green=#00ff00"])


def options(levels: list[int], **more: object) -> medseg.PlanOptions:
    overrides = [f"training.deep_supervision={{levels: {levels}}}"]
    return medseg.PlanOptions(preset="cpu", overrides=overrides, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", [None, "erfnet", "dynunet"])
def test_a_level_that_the_network_lacks_is_refused_and_nothing_is_written(tmp_path: Path, network: str | None) -> None:
    write_pictures(tmp_path / "cells")
    with pytest.raises(PlanError, match=r"names level 9, and the network .* has levels? 0 \(full resolution\)"):
        medseg.plan(tmp_path / "cells", tmp_path, options=options([0, 9], data=COLOURS, network=network))
    assert not (tmp_path / "plans").exists() or not [*(tmp_path / "plans").iterdir()]


def test_levels_that_it_has_are_planned(tmp_path: Path) -> None:
    write_pictures(tmp_path / "cells")
    made = medseg.plan(tmp_path / "cells", tmp_path, options=options([0, 1], data=COLOURS))
    assert made.plan.training.deep_supervision.levels == [0, 1]  # type: ignore[union-attr]


def test_another_configuration_without_the_level_is_named(tmp_path: Path) -> None:
    write_data(tmp_path / "balls")
    large = "configurations.3d_fullres.patch_voxels=[32,32,32]"
    networks = [
        f"configurations.{name}.network={network}"
        for name, network in (("2d", "{name: erfnet}"), ("3d_fullres", "{name: basic_unet_plus_plus}"))
    ]
    chosen = medseg.PlanOptions(preset="cpu", overrides=[*options([0, 1]).overrides, large, *networks])
    made = medseg.plan(tmp_path / "balls", tmp_path, options=chosen)
    told = [note for note in made.notes if "cannot be trained with this plan" in note]
    assert len(told) == 1
    assert told[0].startswith("the configuration 2d cannot be trained with this plan: training.deep_supervision.levels")


@pytest.mark.parametrize(
    ("network", "arguments", "told"),
    [
        ("basic_unet", "{features: [4, 4]}", "network.arguments do not fit basic_unet: .*length 6, got 2"),
        ("mednext", "{kernel_size: 4}", r"mednext cannot be computed for a patch of \[64, 64\] voxels: "),
        ("mednext", "{blocks_up: []}", r"mednext answers a batch of .*; expected \[2, 3, 64, 64\]"),
        ("dynunet", "{res_block: no}", "res_block is 'no'; expected true or false"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, network: str, arguments: str, told: str
) -> None:
    write_pictures(tmp_path / "cells")
    overrides = [f"configurations.2d.network.arguments={arguments}", "configurations.2d.patch_voxels=[64,64]"]
    chosen = medseg.PlanOptions(preset="cpu", overrides=overrides, data=COLOURS, network=network)
    with pytest.raises(PlanError, match=told):
        medseg.plan(tmp_path / "cells", tmp_path, options=chosen)
    assert not (tmp_path / "plans").exists() or not [*(tmp_path / "plans").iterdir()]
