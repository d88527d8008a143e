"""One thread for the engine tests: matrices this small are slower on several, far slower when busy."""

import pytest

from autotune.engine.gp.model.one_thread import one_thread


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    with one_thread():
        yield
