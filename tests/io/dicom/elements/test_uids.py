"""UIDs taken out of texts."""

import pytest

from medseg.io.dicom.elements.uids import hide_uids


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("series 1.2.840.113619.2.55.3.604688119 of", "series (UID) of"),
        ("2.25.329800735698586629295641978511506172918", "(UID)"),
        ("CT.1.3.12.2.1107.5.2.dcm", "CT.(UID).dcm"),
        ("x_1.3.12.2.1107.5.2/y", "x_(UID)/y"),
        ("JPEG (1.2.840.10008.1.2.4.50)", "JPEG (1.2.840.10008.1.2.4.50)"),
        ("version 2.13.0, 2.25.1, 0.41797 mm", "version 2.13.0, 2.25.1, 0.41797 mm"),
    ],
)
def test_identifiers_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert hide_uids(text) == shown
