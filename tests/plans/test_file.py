"""The plan as a file: round trip with its reasons, and errors that name key, value and what would be valid."""

from pathlib import Path
from typing import Any

import pytest
from builders import configuration_values, make_plan, network_values, plan_values

from medseg.core.errors import DataError, PlanError
from medseg.plans.file import dump_plan, load_plan, override, parse_plan, save_plan, validate_plan
from medseg.plans.schema import SCHEMA_VERSION

REASONS = {
    "name": "from the folder # 7",
    "schema_version": "the first key",
    "request.memory_gb": "nothing was asked",
    "data.intensities": "no CT channel",
    "labels.structures": "as in dataset.json",
    "labels.structures.one": "the key below a block that has a reason",
    "configurations.main": "a whole block",
    "configurations.main.spacing_mm": "the median: 1 mm",
    "configurations.main.network": "a nested block",
    "configurations.main.network.strides": "a list of lists",
    "training": "a section",
    "training.augmentation.scaling_range": "größer = kleiner",
    "inference.tile_batch": "the last key of a block",
    "nnunet": "an empty mapping",
}


def save_and_load(tmp_path: Path, values: dict[str, Any], overrides: list[str] | None = None) -> Any:
    path = tmp_path / "plan.yaml"
    save_plan(validate_plan(values, {}, "x"), path)
    return load_plan(path, overrides)


def edit(tmp_path: Path, *replacements: tuple[str, str]) -> Path:
    """A written plan as a user changes it, text by text."""
    text = dump_plan(make_plan())
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plan_comes_back_with_every_reason(tmp_path: Path) -> None:
    plan = make_plan()
    plan.reasons = dict(REASONS)
    save_plan(plan, tmp_path / "plan.yaml")
    back = load_plan(tmp_path / "plan.yaml")
    assert back == plan
    assert back.reasons == REASONS
    assert dump_plan(back) == dump_plan(plan)


def test_reasons_stand_as_comments_behind_their_keys() -> None:
    plan = make_plan()
    plan.reasons = {"training.steps": "asked for\nby the user", "configurations.main.batch_size": "the smallest"}
    lines = dump_plan(plan).splitlines()
    assert "  steps: 20 # asked for by the user" in lines
    assert "    batch_size: 2 # the smallest" in lines


@pytest.mark.parametrize("name", ["no", "1", "null", "aa: b", "# c", "2024-01-01", "Müller's", "1e3", " x", "a.b"])
def test_odd_names_are_quoted_where_yaml_needs_it(tmp_path: Path, name: str) -> None:
    values = plan_values(name=name, labels={"structures": {name: 1}})
    back = save_and_load(tmp_path, values)
    assert back.name == name
    assert back.labels.structures == {name: 1}


@pytest.mark.parametrize("number", [3e-5, 1e-12, 0.1 + 0.2, 12.0, 123456789.0])
def test_numbers_keep_every_digit(tmp_path: Path, number: float) -> None:
    values = plan_values()
    values["training"] = {**values["training"], "weight_decay": number}
    assert save_and_load(tmp_path, values).training.weight_decay == number


# --- errors ---


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    patch_voxels:",
            "    patch_voxel:",
            r"unknown key 'configurations.main.patch_voxel'; did you mean 'configurations.main.patch_voxels'",
        ),
        (
            "  learning_rate:",
            "  learningrate:",
            r"unknown key 'training.learningrate'; did you mean 'training.learning_rate'",
        ),
        (
            "    gamma_range:",
            "    gama_range:",
            r"unknown key 'training.augmentation.gama_range'; did you mean 'training.augmentation.gamma_range'",
        ),
        (
            "deep_supervision: true",
            "deep_supervision: {level: [0]}",
            r"unknown key 'training.deep_supervision.level'; did you mean 'training.deep_supervision.levels'",
        ),
        ("deep_supervision: true", "deep_supervision: [0, 1]", r"expected true, false, or levels: \{levels: \[0, 2\]"),
        ("orientation:", "learning_rate:", r"unknown key 'learning_rate'; did you mean 'training.learning_rate'"),
        ("orientation:", "orientierung:", r"unknown key 'orientierung'; did you mean 'orientation'"),
        (
            "      features:",
            "      featurs:",
            r"unknown key 'configurations.main.network.featurs'; did you mean 'configurations.main.network.features'",
        ),
        (
            "[scheme: zscore]",
            "[shceme: zscore]",
            r"unknown key '.*normalization.0.shceme'; did you mean '.*normalization.0.scheme'",
        ),
        (
            "[scheme: zscore]",
            "[scheme: 3]",
            r"configurations.main.normalization.0.scheme: .*string.*it is 3",
        ),
        (
            "  schedule: poly",
            "  schedule: sine",
            r"training.schedule: .*'poly', 'cosine', 'one_cycle' or 'constant' \(it is 'sine'\)",
        ),
        ("  learning_rate: 0.01", "  learning_rate: -1", r"training.learning_rate: .*more than 0 \(it is -1\)"),
        ("  seed: 0", "  seed: many", r"training.seed: .*a whole number.* \(it is 'many'\)"),
        ("  mirror: false\n", "", r"inference.mirror is missing"),
        ("    batch_size: 2\n", "", r"configurations.main.batch_size is missing"),
        (
            "default_configuration: main",
            "default_configuration: big",
            r"default_configuration is 'big'; there are main",
        ),
        ("transpose_forward: [0, 1, 2]", "transpose_forward: [0, 1, 1]", r"\[0, 1, 1\] is not a permutation"),
        (
            "[scheme: zscore]",
            "[scheme: zscore, scheme: ct]",
            r"not valid YAML|normalization has 2 entries for 1 channel",
        ),
        ("channels: [MRI]", "channels: [MRI, CT]", r"configurations.main.normalization has 1 entry for 2 channels"),
        ("name: toy", "name: [toy", r"plan.yaml is not valid YAML"),
        ("two: 2}", "two: 1}", r"labels: .*share one value"),
    ],
)
def test_a_mistake_is_named_by_key_and_value(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        load_plan(edit(tmp_path, (old, new)))


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    path = edit(
        tmp_path, ("  seed: 0", "  seed: x"), ("    batch_size: 2", "    batch_size: 0"), ("name: toy", "nam: toy")
    )
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    for part in ("'nam'", "name is missing", "training.seed", "configurations.main.batch_size"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("patch", "valid"),
    [([16, 18, 16], [16, 16, 16]), ([17, 30, 47], [16, 32, 48]), ([1, 2, 3], [4, 4, 4])],
)
def test_a_patch_that_the_network_cannot_take_is_answered_with_one_that_it_can(
    tmp_path: Path, patch: list[int], valid: list[int]
) -> None:
    path = edit(tmp_path, ("patch_voxels: [16, 16, 16]", f"patch_voxels: {patch}"))
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    text = str(caught.value)
    for part in ("configurations.main", "patch_voxels", str(patch), "[4, 4, 4]", f"nearest valid patch is {valid}"):
        assert part in text
    assert load_plan(path, [f"configurations.main.patch_voxels={valid}"]).configuration("main").patch_voxels == valid


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": network_values(kernels=[[3, 3, 3]] * 2)}, "kernels has 2 entries for the 3 stages"),
        ({"network": network_values(decoder_convolutions=[1] * 3)}, "decoder_convolutions needs 2 entries"),
        ({"spacing_mm": [1.0, 1.0]}, "spacing_mm has 2 axes, patch_voxels has 3"),
        ({"network": network_values(2)}, r"network\.kernels has an entry \[3, 3\]; expected 3 axes"),
        (
            {"network": network_values(strides=[[1, 1, 1], [2, 2], [2, 2, 2]])},
            r"network\.strides has an entry \[2, 2\]",
        ),
        ({"network": network_values(kernels=[[3, 3]] * 3)}, r"network\.kernels has an entry \[3, 3\]; expected 3 axes"),
        ({"mirror_axes": [0, 3]}, r"mirror_axes is \[0, 3\]; expected some of \[0, 1, 2\]"),
        ({"mirror_axes": [0, 0]}, r"mirror_axes is \[0, 0\]"),
        (
            {"rotation_degrees": [30.0, 30.0]},
            r"rotation_degrees has 2 entries; expected one, or in 3D one for each axis",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    values = plan_values(configurations={"main": configuration_values(**changes)})
    with pytest.raises(PlanError, match=message):
        validate_plan(values, {}, "x")


def test_a_network_that_is_only_a_name_is_answered_with_how_it_is_written() -> None:
    with pytest.raises(PlanError, match=r"network: a network has .*\{name: tiny, arguments: \{\}\}"):
        validate_plan(plan_values(), {}, "x", ["configurations.main.network=tiny"])


def test_a_missing_file_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"There is no plan .*none\.yaml\.\n`medseg plan DATASET`"):
        load_plan(tmp_path / "none.yaml")
    (tmp_path / "liver.yaml").touch()
    with pytest.raises(PlanError, match=r"none\.yaml\. Beside it there is liver\."):
        load_plan(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(PlanError, match=r"x\.yaml is not a plan: expected keys and values"):
        load_plan(path)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, "1", None])
def test_plans_of_another_schema_are_refused(tmp_path: Path, version: object) -> None:
    with pytest.raises(PlanError, match=rf"schema_version {version!r}; this medseg reads 1 to {SCHEMA_VERSION}"):
        validate_plan(plan_values(schema_version=version), {}, "x")


# --- overrides ---


def test_overrides_replace_what_the_file_says_and_are_recorded_as_reasons(tmp_path: Path) -> None:
    plan = make_plan()
    plan.reasons = {"training.learning_rate": "nnU-Net's"}
    save_plan(plan, tmp_path / "plan.yaml")
    changed = load_plan(
        tmp_path / "plan.yaml",
        [
            "training.learning_rate=3e-3",
            "inference.mirror=true",
            "configurations.main.patch_voxels=[8, 16, 24]",
            "configurations.main.network.bias = false",
            "training.augmentation.rotation_probability=0",
            "request.memory_gb=null",
        ],
    )
    assert changed.training.learning_rate == 0.003
    assert changed.inference.mirror is True
    assert changed.configuration("main").patch_voxels == [8, 16, 24]
    assert changed.configuration("main").network.bias is False
    assert changed.training.augmentation.rotation_probability == 0
    assert changed.reasons["training.learning_rate"] == "set by the user; nnU-Net's"
    assert changed.reasons["inference.mirror"] == "set by the user"
    save_plan(changed, tmp_path / "kept.yaml")
    assert load_plan(tmp_path / "kept.yaml").reasons == changed.reasons


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training.learning_rat=1",
            r"learning_rat=1 gives an invalid plan:\n  unknown key .*; did you mean 'training.learning_rate'\?",
        ),
        ("trainign.learning_rate=1", r"--set trainign.*=1: there is no key 'trainign'; did you mean 'training'"),
        ("configurations.mian.batch_size=1", r"there is no key 'configurations.mian'; did you mean 'main'"),
        ("training.steps.more=1", r"--set .*: 'training.steps' is a single value; it has no 'more' in it"),
        ("training.steps", r"--set training.steps is not an assignment; expected KEY=VALUE"),
        ("=5", r"--set =5 is not an assignment"),
        ("training..steps=5", r"is not an assignment"),
        ("data.channels.0=CT", r"--set .*: 'data.channels' is a list; set it as a whole"),
        ("training.steps=[1", r"--set .*: '\[1' is not a valid YAML value for training.steps"),
        ("training.steps=often", r"--set .*=often gives an invalid plan:\n  training.steps: .*whole .*it is 'often'"),
        ("configurations.main.patch_voxels=[10, 16, 16]", r"(?s)--set conf.*nearest valid patch is \[8, 16, 16\]"),
        ("schema_version=99", r"--set schema_version=99 has schema_version 99; this medseg reads 1 to"),
    ],
)
def test_a_wrong_override_is_explained_and_the_file_is_not_blamed(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.yaml"
    save_plan(make_plan(), path)
    with pytest.raises(PlanError, match=message) as caught:
        load_plan(path, [text])
    assert "plan.yaml" not in str(caught.value)


def test_what_is_wrong_in_the_file_is_the_files_and_what_was_set_is_named_beside_it(tmp_path: Path) -> None:
    path = edit(tmp_path, ("  seed: 0", "  seed: many"))
    with pytest.raises(PlanError) as caught:
        load_plan(path, ["training.steps=often", "training.momentum=0.5"])
    assert [line[:60] for line in str(caught.value).replace(str(path), "FILE").splitlines()] == [
        "FILE is not a valid plan:",
        "  training.seed: expected a whole number (it is 'many')",
        "--set training.steps=often gives an invalid plan:",
        "  training.steps: expected a whole number (it is 'often')",
    ]
    assert load_plan(path, ["training.seed=3"]).training.seed == 3


def test_settings_that_do_not_fit_what_the_file_says_elsewhere_are_all_named(tmp_path: Path) -> None:
    path = edit(tmp_path)
    with pytest.raises(PlanError) as caught:
        load_plan(path, ["data.channels=[MRI, CT]", "training.seed=3"])
    first, *rest = str(caught.value).splitlines()
    with pytest.raises(PlanError, match=r"^--set configurations\.main\.patch_voxels=\[9, 9, 9\] gives"):
        load_plan(path, ["training.seed=3", "configurations.main.patch_voxels=[9, 9, 9]"])
    assert first == "--set data.channels=[MRI, CT] --set training.seed=3 gives an invalid plan:"
    assert any("normalization has 1 entry for 2 channels" in line for line in rest)


def test_override_answers_with_the_key_and_reads_yaml() -> None:
    values: dict[str, Any] = {"a": {"b": 1}}
    assert override(values, " a.b = {c: [1, 2.5, x=y]}") == "a.b"
    assert values == {"a": {"b": {"c": [1, 2.5, "x=y"]}}}


# --- inheritance ---


def inherited(**configurations: dict[str, Any]) -> dict[str, Any]:
    return plan_values(configurations={"main": configuration_values(), **configurations})


def test_a_configuration_inherits_what_it_does_not_say() -> None:
    plan = validate_plan(
        inherited(wide={"inherits": "main", "batch_size": 7}, wider={"inherits": "wide", "patch_voxels": [8, 8, 8]}),
        {},
        "x",
    )
    wider = plan.configuration("wider")
    assert (wider.batch_size, wider.patch_voxels) == (7, [8, 8, 8])
    assert wider.network == plan.configuration("main").network
    assert plan.configuration("main").batch_size == 2


def test_inheritance_survives_the_file(tmp_path: Path) -> None:
    plan = save_and_load(tmp_path, inherited(wide={"inherits": "main", "batch_size": 7}))
    assert plan.configurations["wide"] == {"inherits": "main", "batch_size": 7}


@pytest.mark.parametrize(
    ("configurations", "message"),
    [
        ({"a": {"inherits": "b"}, "b": {"inherits": "a"}}, r"inherit in a circle: a -> b -> a"),
        ({"a": {"inherits": "a"}}, r"inherit in a circle: a -> a"),
        ({"a": {"inherits": "nobody"}}, r"no configuration 'nobody'; there are main, a"),
        ({"a": {"inherits": "main", "patch_voxels": [9, 9, 9]}}, r"configurations.a: patch_voxels is \[9, 9, 9\]"),
        (
            {"a": {"inherits": "main", "batchsize": 1}},
            r"unknown key 'configurations.a.batchsize'; did you mean 'configurations.a.batch_size'",
        ),
    ],
)
def test_wrong_inheritance_is_refused(configurations: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        validate_plan(inherited(**configurations), {}, "x")


@pytest.mark.parametrize(("share", "fraction"), [(0, 1.0), (0.0, 0.8), (0.5, 1)])
def test_smaller_patches_of_an_earlier_version_that_were_off_are_left_out_silently(
    share: float, fraction: float
) -> None:
    values = plan_values()
    values["training"] |= {"small_patch_share": share, "small_patch_fraction": fraction}
    reasons = {"training.small_patch_share": "none", "training.steps": "few"}
    plan = validate_plan(values, reasons, "x")
    assert plan == validate_plan(plan_values(), {}, "x").model_copy(update={"reasons": plan.reasons})
    assert plan.reasons == {"training.steps": "few"}
    assert "small_patch" not in dump_plan(plan)


def test_smaller_patches_of_an_earlier_version_that_were_on_are_named(tmp_path: Path) -> None:
    values = plan_values()
    values["training"] |= {"small_patch_share": 0.5, "small_patch_fraction": 0.8}
    plan = validate_plan(values, {}, "x")
    assert plan.reasons["training"].startswith(
        "small_patch_fraction: 0.8, small_patch_share: 0.5 of an earlier version"
    )
    save_plan(plan, tmp_path / "plan.yaml")
    assert load_plan(tmp_path / "plan.yaml").reasons == plan.reasons
    with pytest.raises(PlanError, match="small_patch_share"):
        validate_plan(values, {}, "x", ["training.small_patch_share=0.5"])


@pytest.mark.parametrize(
    ("key", "name", "ours"),
    [
        ("optimizer", "Adam", "adam"),
        ("optimizer", "SGD", "sgd"),
        ("schedule", "OneCycleLR", "one_cycle"),
        ("schedule", "one-cycle", "one_cycle"),
        ("schedule", "one_cycle", "one_cycle"),
        ("schedule", "CosineAnnealingLR", "cosine"),
        ("schedule", "polynomial", "poly"),
    ],
)
def test_optimizers_and_schedules_have_their_usual_names(key: str, name: str, ours: str) -> None:
    plan = parse_plan(dump_plan(make_plan()), "a plan", [f"training.{key}={name}"])
    assert getattr(plan.training, key) == ours
    assert f"{key}: {ours}" in dump_plan(plan)


@pytest.mark.parametrize(("key", "name"), [("optimizer", "rmsprop"), ("schedule", "plateau"), ("schedule", "3")])
def test_another_optimizer_or_schedule_is_answered_with_those_that_there_are(key: str, name: str) -> None:
    with pytest.raises(PlanError, match=rf"training\.{key}: expected '(sgd|poly)', '"):
        parse_plan(dump_plan(make_plan()), "a plan", [f"training.{key}={name}"])


def test_a_folder_in_place_of_a_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        load_plan(tmp_path)
