"""Small values: estimates, failures, trials, the registry, failpoints, redaction."""

import json
import math
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.core.failpoint import failpoint
from autotune.core.measurement import Cause, Estimate, Failure, Measurement, as_estimates
from autotune.core.redact import redact
from autotune.core.registry import Registry
from autotune.core.trial import Reason, Suggestion, config_key
from autotune.errors import SpecError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ESTIMATES = st.builds(
    Estimate, FINITE, st.none() | FINITE.map(abs), st.integers(1, 10**6), st.sampled_from(["1", "s", "B"])
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), ESTIMATES, max_size=4), st.sampled_from(list(Cause)))
def test_measurements_survive_json_and_pickle(metrics, cause):
    measurement = Measurement(
        metrics=metrics, failure=Failure(cause, "m", "log"), facts={"a": [1]}, started_ns=1, ended_ns=5
    )
    assert Measurement.from_dict(json.loads(json.dumps(measurement.to_dict()))) == measurement
    assert pickle.loads(pickle.dumps(measurement)) == measurement
    suggestion = Suggestion({"a": 1}, Reason.EXPLOIT, "gp", metrics, 0.5)
    assert Suggestion.from_dict(json.loads(json.dumps(suggestion.to_dict()))) == suggestion


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "1", True, None])
def test_what_is_no_finite_number_is_refused(bad):
    with pytest.raises(SpecError):
        as_estimates({"x": bad})
    with pytest.raises(SpecError):
        Estimate(1.0, -0.1)


def test_numpy_scalars_are_numbers():
    import numpy as np

    assert as_estimates({"x": np.float32(1.5), "n": np.int64(3)})["x"].value == 1.5


def test_the_two_families_of_causes():
    at_fault = {cause.value for cause in Cause if cause.configuration_at_fault}
    assert at_fault == {
        "out_of_memory", "rejected_flags", "startup_timeout", "wrong_output", "crashed_under_load",
        "time_limit",
    }  # fmt: skip


def test_equal_configurations_have_equal_keys():
    assert config_key({"a": 1, "b": "x"}) == config_key({"b": "x", "a": 1})
    assert config_key({"a": 1}) != config_key({"a": True})


def test_the_registry_finds_third_parties_and_names_the_nearest():
    registry = Registry("system", "autotune.systems", {"transformers": "json:loads"})
    assert registry.names() == ["transformers", "toy"]
    assert registry.load("toy").name == "toy"
    with pytest.raises(SpecError, match="did you mean 'transformers'"):
        registry.load("transformer")


def test_failpoints_are_off_unless_named():
    failpoint("ledger.commit")
    code = (
        "from autotune.core.failpoint import failpoint\n"
        "for i in range(3): failpoint('here'); print(i, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "AUTOTUNE_FAILPOINT": "here:kill@2"},
    )  # fmt: skip
    assert done.returncode == -9
    assert done.stdout == "0\n"


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://user:hunter2@host/db",
        "Authorization: Bearer abcdefghijklmnop",
        "hf_abcdefghijklmnopqrstuvwxyz123456",
        "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        "api_key=sk-abcdefghijklmnopqrstuvwx",
    ],
)
def test_secrets_are_masked_and_the_text_around_them_stays(secret):
    hidden = redact(f"before {secret} after")
    for part in ("hunter2", "abcdefghijklmnop", "wJalrXUtnFEMIK7", "sk-abc"):
        assert part not in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")


def test_the_mean_of_samples_has_their_error():
    found = Estimate.mean_of([1.0, 2.0, 4.0, 5.0], "s")
    assert (found.value, found.n, found.unit) == (3.0, 4, "s")
    assert found.sem == pytest.approx(math.sqrt((4 + 1 + 1 + 4) / 3 / 4))
    assert Estimate.mean_of([7.0]) == Estimate(7.0, None, 1)
    large = Estimate.mean_of([1e150, 1e150, -1e150])
    assert math.isfinite(large.value)
    assert math.isfinite(large.sem)


def test_the_exponential_carries_its_error_and_stays_a_number():
    assert Estimate(0.0, 0.1, 5).exp() == Estimate(1.0, 0.1, 5)
    assert Estimate(2.0).exp() == Estimate(math.exp(2.0))
    assert math.isfinite(Estimate(1e9, 1.0, 2).exp().sem)
