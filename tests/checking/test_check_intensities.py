"""Rules on intensities, on made-up facts."""

import pytest
from facts import make_cases, make_channel, make_facts, plain_set

from medseg.checking.check_intensities import check_intensities, empty_scans


def found(facts, channels=("MR",)):
    return check_intensities(facts, make_cases(facts), channels)


def test_a_plain_set_has_no_findings():
    assert found(plain_set(12)) == []
    assert found([]) == []


@pytest.mark.parametrize(
    ("channel", "kind", "said"),
    [
        ({"quantiles": (0.1, 0.25, 0.4, 0.55, 0.7)}, "intensity", "spread over 0.6; usual are 600 to 600"),
        (
            {"quantiles": (1100.0, 1250.0, 1400.0, 1550.0, 1700.0)},
            "intensity",
            "shifted as a whole: their median is 1400; usual are 400 to 400",
        ),
        (
            {"foreground_rank": 0.7},
            "intensity",
            "structures that are brighter than 70% of the image; usual are 30% to 30%",
        ),
        ({"share_negative": 0.2}, "intensity", "negative values in 20% of its voxels"),
        ({"share_high": 0.3}, "saturation", "its highest value, 1000, in 30% of its voxels"),
    ],
)
def test_what_is_unlike_the_rest_is_named(channel, kind, said):
    (finding,) = found(plain_set(12, make_facts("odd", [make_channel(**channel)])))
    assert (finding.kind, finding.case, finding.severity) == (kind, "odd", "warning")
    assert said in finding.message


@pytest.mark.parametrize(
    "channel", [{"share_negative": 0.2}, {"share_high": 0.3}, {"quantiles": (1.0, 2.0, 3.0, 4.0, 5.0)}]
)
def test_what_several_cases_have_is_not(channel):
    odd = [make_facts(f"odd{number}", [make_channel(**channel)]) for number in range(4)]
    assert found(plain_set(12, *odd)) == []


def test_few_cases_are_not_compared():
    assert found(plain_set(8, make_facts("odd", [make_channel(share_negative=0.5)]))) == []


def test_a_case_without_structures_has_no_contrast():
    assert found(plain_set(12, make_facts("none", [make_channel(foreground_rank=None)]))) == []


def test_channels_of_a_case_are_one_finding():
    dark = make_channel(quantiles=(0.1, 0.2, 0.3, 0.4, 0.5))
    facts = [make_facts(f"c{number}", [make_channel()] * 3) for number in range(12)]
    (finding,) = found([*facts, make_facts("odd", [make_channel(), dark, dark])], ("red", "green", "blue"))
    assert "(green) has intensities that spread" in finding.message
    assert finding.message.endswith("; blue likewise.")


def test_a_scan_of_one_value_is_an_error_and_a_channel_of_one_value_a_warning():
    nothing = make_channel(low=7.0, high=7.0)
    facts = [make_facts(f"c{number}", [make_channel()] * 2) for number in range(12)]
    facts += [make_facts("empty", [nothing, nothing]), make_facts("half", [make_channel(), nothing])]
    (finding,) = empty_scans(facts, make_cases(facts))
    assert (finding.kind, finding.case, finding.severity) == ("empty image", "empty", "error")
    assert finding.message == "set/images/empty.nii.gz holds the value 7 in every voxel."
    warnings = found([case for case in facts if case.id != "empty"], ("T1", "T2"))
    assert [(warning.kind, warning.case) for warning in warnings] == [("empty channel", "half")]
    assert "the channel T2 has one value" in warnings[0].message
