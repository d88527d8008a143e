"""A study file as a ledger holds it: sections as values, of any version and of anybody."""

import pytest

from autotune.core.deadlines import Deadlines
from autotune.errors import SpecError
from autotune.spec.sections import EngineConfig, Resources, Tracking
from autotune.spec.stored import StoredSpec

SPACE = {"parameters": {"a": {"type": "bool"}, "b": {"type": "int", "low": 1, "high": 9}}}
WHOLE = {
    "space": SPACE,
    "objective": {"maximize": "speed"},
    "system": {"use": "vllm", "model": "m", "flags": {"x": 1}},
    "workload": {"rate": "4.0", "time": "1.5 min"},
    "budget": {"trials": "12", "time": "2 h", "confirm": 1},
    "resources": {"gpus": "b * 2", "price": "3"},
    "engine": {"use": "sobol", "seed": 4, "initial": 3},
    "tracking": {"mlflow": "http://host:5000", "experiment": "team"},
    "deadlines": {"startup": "90 s"},
}


def test_sections_are_values():
    spec = StoredSpec(WHOLE, order=("b", "gone", "a"))
    spec.check()
    assert spec.parameters == spec.space.names == ("b", "a")
    assert spec.objective.goals[0].metric == "speed"
    assert (spec.system.use, spec.system.tuned) == ("vllm", "m")
    assert spec.system.section == WHOLE["system"]
    assert spec.stated_load == WHOLE["workload"]  # as it was written
    assert (spec.trials, spec.seconds, spec.confirm) == (12, 7200.0, 1)
    assert spec.resources.needed({"b": 2}) == {"gpus": 4.0}
    assert spec.engine == EngineConfig("sobol", 4, {"initial": 3})
    assert spec.tracking == Tracking("http://host:5000", "team")
    assert (spec.tracking_uri, spec.experiment) == ("http://host:5000", "team")
    assert spec.deadlines.startup_s == 90.0
    assert spec.with_parts({"name": "s", "engine": {}}) == {**WHOLE, "name": "s", "engine": {}}


def test_what_an_earlier_version_did_not_write_is_as_in_a_file_that_leaves_it_out():
    spec = StoredSpec({"space": SPACE, "objective": {"maximize": "speed"}, "engine": {}}, row_seed=7)
    spec.check()
    assert spec.engine == EngineConfig("gp", 7)
    assert (spec.system, spec.has_system, spec.stated_load) == (None, False, {})
    assert (spec.trials, spec.seconds, spec.confirm) == (None, None, 0)
    assert (spec.resources, spec.deadlines, spec.tracking) == (Resources(), Deadlines(), Tracking())
    assert (spec.tracking_uri, spec.experiment) == ("", "")
    assert StoredSpec().engine is None


def test_what_a_study_without_a_mirror_says_is_told_apart_from_nothing():
    assert StoredSpec({"tracking": {"mlflow": "none"}}).tracking_uri is None
    assert StoredSpec({"tracking": {}}).tracking_uri == ""


@pytest.mark.parametrize(
    ("section", "value", "read", "path"),
    [
        ("engine", "gp", "engine", ("engine",)),
        ("engine", {"use": 3}, "engine", ("engine", "use")),
        ("engine", {"seed": -1}, "engine", ("engine", "seed")),
        ("space", {"parameters": 3}, "parameters", ("space",)),
        ("space", {"parameters": {"a": {"type": "no"}}}, "space", ("space", "parameters", "a", "type")),
        ("objective", None, "objective", ("objective",)),
        ("system", 3, "system", ("system",)),
        ("workload", [1], "stated_load", ("workload",)),
        ("budget", {"trials": 0}, "trials", ("budget", "trials")),
        ("budget", 3, "seconds", ("budget",)),
        ("resources", {"gpus": "1 +"}, "resources", ("resources", "gpus")),
        ("deadlines", {"startup": "3 m"}, "deadlines", ("deadlines", "startup")),
        ("tracking", {"mlflow": "gopher://x"}, "tracking", ("tracking", "mlflow")),
    ],
)
def test_a_wrong_section_is_refused_with_its_place_and_the_others_are_read(section, value, read, path):
    spec = StoredSpec({**WHOLE, section: value})
    with pytest.raises(SpecError) as caught:
        getattr(spec, read)
    assert caught.value.path == path
    sections = {"workload": "stated_load", "budget": "trials"}
    names = {"space", "objective", "system", "stated_load", "trials", "resources", "engine", "tracking"}
    for other in names - {read, sections.get(section, section)}:
        assert getattr(spec, other) is not None


@pytest.mark.parametrize("tracking", [3, [], "http://host"])
def test_an_address_is_looked_for_in_any_section(tracking):
    assert StoredSpec({"tracking": tracking}).tracking_uri == ""
    assert StoredSpec({"tracking": tracking}).experiment == ""
