"""What a name says of the modality of a scan, and whether a file may be the channel of a model."""

import pytest

from medseg.io.layouts.file_names.modalities import kinds_named, may_be, says


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("t1", "p2_T1w", "sub-1_acq-mp_T1w", "T1_p2", "BraTS-1-t1n", "p2_mprage"), ("MR", "t1")),
        (("t1ce", "p2_T1Gd", "T1_ce", "p2-t1-post", "p2-t1c", "ce-gadolinium_T1w"), ("MR", "t1ce")),
        (("FLAIR", "p2_flair2", "T2_FLAIR", "p2-t2f", "t2flair"), ("MR", "flair")),
        (("t2", "p2_T2w"), ("MR", "t2")),
        (("mri", "MR001", "mr_smith"), ("MR", "")),
        (("ct", "CT001", "p2_CT_2", "liver-ct-p2", "cta"), ("CT", "")),
        (("pet", "p2_PT", "p2_fdg"), ("PT", "")),
        (("p2_us", "ultrasound"), ("US", "")),
    ],
)
def test_names_with_a_modality(names, kind):
    assert [kinds_named(name) for name in names] == [{kind}] * len(names)


@pytest.mark.parametrize(
    "name",
    ["image", "scan", "imaging", "p2", "pt_01", "pt01", "us_01", "PD_001", "t_1", "actor", "contrast", "0000", ""],
)
def test_names_without_a_modality(name):
    assert kinds_named(name) == set()


@pytest.mark.parametrize(
    ("name", "channels", "may"),
    [
        ("p2_t1", ["flair"], False),
        ("p2_t1", ["T1w"], True),
        ("p2_t1", ["t1ce"], False),
        ("p2_t1", ["MRI"], True),
        ("p2_t1", ["CT"], False),
        ("p2_mri", ["flair"], True),
        ("p2_flair_to_t1", ["flair"], True),
        ("p2_t1", ["flair", "t1"], False),
        ("p2_flair_t1", ["flair", "t1"], True),
        ("p2_mri", ["flair", "t1"], True),
        ("p2_scan", ["flair"], True),
        ("p2_t1", ["image"], True),
        ("p2_t1", ["channel_0", "channel_1"], True),
        ("p2_dx", ["CR"], True),
    ],
)
def test_a_name_with_another_modality_is_no_channel(name, channels, may):
    assert may_be(name, channels) == may


@pytest.mark.parametrize(
    ("name", "channels", "said"),
    [
        ("acq-3D_FLAIR", ["flair"], True),
        ("ct_2", ["CT"], True),
        ("brain_old", ["brain"], True),
        ("t1w", ["t1"], True),
        ("scan", ["flair"], False),
        ("mri", ["flair"], False),
        ("t1", ["t1", "flair"], False),
    ],
)
def test_a_name_that_says_the_channels(name, channels, said):
    assert says(name, channels) == said
