"""Skip tests that need segmentation-models-pytorch where it cannot be imported."""

from __future__ import annotations

import pytest

from medseg.core.errors import PlanError
from medseg.networks.encoders.rows import load_library


def require_encoders() -> None:
    """Skip the test, with the reason, if the library is missing or torchvision was built for another torch."""
    try:
        load_library()
    except PlanError as error:
        pytest.skip(str(error).splitlines()[0])
