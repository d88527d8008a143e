"""Units from the program to the answer: real studies, every trial in a process of its own."""

import json
from textwrap import dedent

import pytest

from autotune.core.measurement import Cause
from autotune.ledger import Ledger

pytestmark = pytest.mark.timeout(300)


def study(folder, metrics, limit, system="use: function, call: 'm.py:m'", goal="throughput"):
    (folder / "m.py").write_text(f"def m(c): return {{'throughput': 100.0 * c['b'], **{metrics}}}\n")
    (folder / "p.py").write_text(
        f"import json, sys\nprint(json.dumps({{'throughput': 100.0 * int(sys.argv[1]), **{metrics}}}))\n"
    )
    text = f"""\
        name: u
        parameters: {{b: {{type: int, low: 1, high: 4}}}}
        system: {{{system}}}
        objective: {{maximize: {goal}, limits: [{limit}]}}
        budget: {{trials: 1, confirm: 0}}
        engine: random
        tracking: {{mlflow: none}}
        """
    (folder / "u.yaml").write_text(dedent(text))


COMMAND = "use: command, argv: ['{python}', p.py, '{b}']"
CASES = {
    "over": ({"memory.peak": {"value": 80.0, "unit": "GiB"}}, "memory.peak <= 4 GiB", {}, 4),
    "kept": ({"ttft.p99": {"value": 410.0, "sem": 2.0, "unit": "ms"}}, "ttft.p99 <= 500 ms", {}, 0),
    "declared": ({"latency": 410.0}, "latency <= 500 ms", {"latency": "ms"}, 0),
    "declared over": ({"latency": [510.0, 512.0]}, "latency <= 500 ms", {"latency": "ms"}, 4),
    "plain": ({"latency": 0.41}, "latency <= 500 ms", {}, 0),
    "plain over": ({"latency": 410.0}, "latency <= 500 ms", {}, 4),
}


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("over", "function"),
        ("declared", "command"),
        *(
            pytest.param(case, kind, marks=pytest.mark.slow)
            for case, kind in [
                *((case, "function") for case in CASES if case != "over"),
                ("over", "command"),
            ]
        ),
    ],
)
def test_a_limit_is_judged_in_the_unit_that_the_program_gives(case, kind, tmp_path, autotune_here):
    metrics, limit, units, code = CASES[case]
    system = COMMAND if kind == "command" else "use: function, call: 'm.py:m'"
    study(tmp_path, metrics, limit, system + f", units: {json.dumps(units)}")
    done = autotune_here("run", "u.yaml", "--local", "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        (trial,) = ledger.trials("u")
    (name,) = metrics
    assert trial.metrics[name].unit == ("B" if name == "memory.peak" else "s")
    once = autotune_here("measure", "u.yaml", "--json")
    assert json.loads(once.stdout)["metrics"][name]["unit"] == trial.metrics[name].unit


def test_a_single_number_is_in_the_declared_unit_of_the_goal(tmp_path, autotune_here):
    study(tmp_path, {}, "latency <= 500 ms", "use: function, call: 'm.py:m', units: {latency: ms}", "latency")
    (tmp_path / "m.py").write_text("def m(c): return 410.0\n")
    done = autotune_here("measure", "u.yaml", "--json")
    assert json.loads(done.stdout)["metrics"]["latency"] == {"value": 0.41, "sem": None, "n": 1, "unit": "s"}


@pytest.mark.parametrize(
    ("metrics", "limit"),
    [
        ({"ttft.p99": {"value": 4, "unit": "GiB"}}, "ttft.p99 <= 500 ms"),
        ({"latency": {"value": 4, "unit": "GiB"}}, "latency <= 500 ms"),
        ({"latency": {"value": 410, "unit": "ms"}}, "latency <= 500"),
        ({"latency": {"value": 410, "unit": "msec"}}, "latency <= 500 ms"),
    ],
)
def test_a_wrong_dimension_is_the_owners_mistake(metrics, limit, tmp_path, autotune_here):
    study(tmp_path, metrics, limit)
    done = autotune_here("measure", "u.yaml", check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    (name,) = metrics
    assert f"metric '{name}'" in done.stderr
    if limit == "ttft.p99 <= 500 ms":
        return  # as the next one
    done = autotune_here("run", "u.yaml", "--local", "--trials", "3", check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"metric '{name}'" in done.stderr
    assert "trial 1" not in done.stdout
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        failure = ledger.attempts("u", 0)[0].measurement.failure
    assert failure.cause is Cause.OWNER_MISTAKE
    assert f"metric '{name}'" in failure.message


def test_check_says_in_which_unit_a_plain_number_is_taken(tmp_path, autotune_here):
    study(tmp_path, {"latency": 0.41}, "latency <= 500 ms")
    assert "a latency without a unit is taken in s" in autotune_here("check", "u.yaml").stdout
    assert json.loads(autotune_here("check", "u.yaml", "--json").stdout)["assumed_units"] == {"latency": "s"}
    study(
        tmp_path, {"latency": 0.41}, "latency <= 500 ms", "use: function, call: 'm.py:m', units: {latency: s}"
    )
    assert "without a unit" not in autotune_here("check", "u.yaml").stdout
