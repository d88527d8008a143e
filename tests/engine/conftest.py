"""One thread for the engine tests: matrices this small are slower on several, far slower when busy."""

import pytest

from autotune.engine.gp.model.one_thread import one_thread


@pytest.fixture(autouse=True, scope="package")
def _nothing_compiled():
    """Take BoTorch's hypervolume improvement in Python: compiling its C++ takes half a minute of CPU."""
    from botorch.acquisition.multi_objective import logei

    logei._load_attempted = True


@pytest.fixture(
    autouse=True, scope="module"
)  # a folder without __init__ is no package: it would last to the end
def _one_thread():
    with one_thread():
        yield
