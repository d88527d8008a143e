"""How long ``check`` says that a study takes, and what it has that from."""

import json

import pytest

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.study.plan import make_plan, plan_lines
from autotune.study.study import Study
from autotune.study.study_file import read_study

SECOND = 1_000_000_000
FUNCTION = """
name: {name}
parameters:
  level: {{type: int, low: 1, high: 9, default: 6}}
system: {{use: function, call: "program.py:measure"}}
objective: {{maximize: speed}}
budget: {{trials: 8, confirm: 1}}
deadlines: {{startup: 10 s, measure: 50 s}}
tracking: {{mlflow: none}}
"""


@pytest.fixture(name="study")
def study_fixture(tmp_path):
    """Reads a study of a function, of any name."""

    def read(name="one", text=FUNCTION):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text.format(name=name))
        return read_study(path)

    (tmp_path / "program.py").write_text("def measure(config):\n    return 1.0\n\nother = measure\n")
    return read


def measured(spec, store, *seconds, failed=()):
    """Put finished trials of a study into a ledger; those numbered in ``failed`` failed."""
    store.mkdir(exist_ok=True)
    with Study(spec.space, spec.objective, engine="random", name=spec.name, path=store / "ledger.sqlite",
               spec=spec.to_dict()) as study:  # fmt: skip
        for number, took in enumerate(seconds):
            failure = Failure(Cause.CRASHED_UNDER_LOAD) if number in failed else None
            found = Measurement({} if failure else {"speed": Estimate(1.0)}, failure, started_ns=SECOND,
                                ended_ns=round((1 + took) * SECOND))  # fmt: skip
            state = TrialState.INFEASIBLE if failure else TrialState.COMPLETED
            suggestion = Suggestion({"level": number + 1}, Reason.RANDOM)
            study.ledger.add_measured(study.name, number, suggestion, found, state)


def time_of(spec, store):
    text = " ".join("\n".join(plan_lines(make_plan(spec, store))).split())
    return text.partition("time ")[2].partition(" engine")[0]


def test_a_function_is_bounded_by_its_deadlines_and_by_nothing_invented(study, tmp_path):
    shown = time_of(study(), tmp_path)
    assert shown.startswith("at most 10 min (not known before the first trial: only `function` itself knows;")
    assert "deadlines end a trial after 60 s" in shown
    plan = make_plan(study(), tmp_path)
    assert plan.seconds == (0.0, 600.0)
    assert json.loads(json.dumps(plan.to_dict()))["expected_seconds"]["high"] == 600.0


def test_what_was_measured_says_how_long_the_rest_takes(study, tmp_path):
    measured(study(), tmp_path, 2.0, 2.0, 4.0, 4.0, failed=(3,))
    plan = make_plan(study(), tmp_path)
    assert plan.seconds == pytest.approx((18.0, 18.0))  # six of ten trials are left, 3 s each
    assert plan.seconds_from == "2.0 s to 4.0 s a trial, as 4 measured ones of this study took; 6 left"


def test_another_study_on_the_same_system_is_the_next_best_source(study, tmp_path):
    measured(study("one"), tmp_path, 2.0, 2.0)
    plan = make_plan(study("two"), tmp_path)
    assert plan.seconds == pytest.approx((20.0, 20.0))
    assert plan.seconds_from == "2.0 s a trial, as 2 measured ones of the same system in this ledger took"
    other = FUNCTION.replace("program.py:measure", "program.py:other")
    assert make_plan(study("three", other), tmp_path).seconds == (0.0, 600.0)


def test_a_served_system_is_timed_by_its_workload(study, tmp_path):
    text = FUNCTION.replace('{{use: function, call: "program.py:measure"}}', "{{use: toy}}")
    text = text.replace("level", "batch_size").replace("speed", "output_throughput")
    shown = time_of(study("toy", text + "workload: {{time: 20 s}}\n"), tmp_path)
    assert "start-up of 10 s to 120 s guessed, workload.time 20 s" in shown


@pytest.mark.parametrize(("levels", "trials", "confirmations"), [(1, 1, 0), (2, 2, 2), (9, 8, 2)])
def test_a_small_space_bounds_the_budget_and_the_time(study, tmp_path, levels, trials, confirmations):
    text = FUNCTION.replace("high: 9, default: 6", f"high: {levels}")
    plan = make_plan(study(text=text), tmp_path)
    assert plan.seconds[1] == 60.0 * (trials + confirmations)
    budget = next(line for line in plan_lines(plan) if line.startswith("budget"))
    assert ("of 8: there are no more configurations" in budget) == (levels < 8)
    assert ("confirmation" in budget) == bool(confirmations)
    assert budget.split()[1:3] == [str(trials), "trial" if trials == 1 else "trials"]
