"""One thread for the engine tests: matrices this small are slower on several, far slower when busy."""

import pytest

from autotune.engine.gp import surrogate


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    with surrogate.one_thread():
        yield
