"""Commands and options of nnU-Net and TotalSegmentator get the right word, and shadow none of medseg's own."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from medseg.cli.app import VERBS, verb_function
from medseg.cli.parsing.hints import options_of
from medseg.cli.parsing.other_tools import OTHER_OPTIONS, OTHER_VERBS, explain_verb
from medseg.cli.parsing.signature import fields_of_function, flat


@pytest.mark.parametrize("verb", OTHER_OPTIONS)
def test_no_option_of_medseg_is_shadowed_and_what_is_advised_exists(verb: str) -> None:
    assert verb in VERBS
    own = {
        flag for field in flat(fields_of_function(verb_function(verb))) for flag in field.flags if not field.is_argument
    }
    assert own.intersection(OTHER_OPTIONS[verb]) == set()
    for option, (_, here) in OTHER_OPTIONS[verb].items():
        known = options_of(verb).union(*(options_of(other) for other in re.findall(r"medseg ([a-z-]+)", here)))
        assert {*re.findall(r"(?<![\w-])--[a-z-]+", here)} - {*known, "--nproc-per-node"} == set(), option


@pytest.mark.parametrize(
    ("line", "here"),
    [
        ("predict a b --gpu", "here: --device cuda"),
        ("predict a b --tta", "here: --mirror"),
        ("predict -i a -o b", "here: SCANS and OUT come first"),
        ("predict a b -d 3", "here: name the model's folder"),
        ("predict a b -d gpu:1", "here: --device cuda:1"),
        ("predict a b --ml", "one label map holds all structures"),
        ("train -d 3 -c 2d", "here: medseg plan DATASET"),
        ("train --c", "here: --resume"),
        ("plan a -gpu_memory_target 24", "here: --memory 24GB"),
        ("evaluate a b --chill", "here: --allow-missing"),
        ("train 4 3d_fullres 0", "here: --plan NAME --config 3d_fullres --fold 0"),
        ("plan_and_preprocess -d 4", "here: medseg plan FOLDER"),
        ("nnUNetv2_find_best_configuration 4", "here: medseg select"),
    ],
)
def test_habits_are_answered(line: str, here: str, command_line: Callable) -> None:
    done = command_line(*line.split())
    assert done.returncode == 2
    assert here in " ".join(re.sub("[│╭╮╰╯─]", " ", done.stderr).split())


@pytest.mark.parametrize("command", OTHER_VERBS)
def test_commands_of_other_tools_are_none_here_and_what_is_advised_exists(command: str) -> None:
    assert command not in VERBS
    advised = re.findall(r"medseg ([a-z-]+)", OTHER_VERBS[command])
    assert advised
    assert {*advised} <= {*VERBS}
    assert explain_verb(f"nnUNetv2_{command}") is not None
    known = set().union(*map(options_of, advised))
    assert {*re.findall(r"(?<![\w-])--[a-z-]+", OTHER_VERBS[command])} <= known


def test_a_gpu_has_its_name_here() -> None:
    from medseg.core.errors import PlanError
    from medseg.networks.device import choose_device

    for name, meant in {"gpu": "called cuda\\.", "gpu:1": "called cuda:1\\.", "0": "called cuda:0\\."}.items():
        with pytest.raises(PlanError) as error:
            choose_device(name)
        assert re.search(meant, str(error.value))
