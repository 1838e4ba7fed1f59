"""What more than one module of integration tests uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """What starts Keras trainings and scripts: it has imported TensorFlow and Keras, once for all of them."""
    with Zygote() as zygote:
        yield zygote
