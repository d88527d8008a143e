"""The outcome of a study does not depend on the unit that a value is written in."""

import csv
import json
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import autotune
from autotune.core import ranking
from autotune.core.measured_table import read_table
from autotune.core.measurement import Cause, Estimate, Measurement, as_estimates
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.core.units import SCALED, known_base, parse_quantity
from autotune.engine.gp.model.data import read_history
from autotune.errors import SpecError, UnitError
from autotune.systems.base import AttemptFailed
from autotune.systems.own.driver import read_metrics

SPACE = autotune.Space((autotune.Int("b", 1, 64),))
SYMBOLS = {base: [s for s in SCALED if known_base(s) == base] + [base] for base in ("s", "B", "tokens/s")}
METRICS = {"ttft.p99": "s", "memory.peak": "B", "output_throughput": "tokens/s", "wait": "s", "disk": "B"}
LIMITS = {"s": "500 ms", "B": "4 GiB", "tokens/s": "1000 tokens/s"}
OBJECTIVES = {
    name: Objective.from_dict(
        {"maximize": "score", "limits": [f"{name} {sense} {LIMITS[base]}" for sense in ("<=",)]}
    )
    for name, base in METRICS.items()
}

names = st.sampled_from(sorted(METRICS))
values = st.floats(1e-3, 1e4)
quick = settings(max_examples=60, derandomize=True, deadline=None)


def written(value, sem, symbol):
    size = parse_quantity(f"1 {symbol}").value
    return {"value": value / size, "sem": sem / size, "unit": symbol}


def scored(objective, metrics):
    outcome = objective.score(metrics)
    return outcome.feasible, outcome.missing, {k: round(v, 9) for k, v in outcome.violations.items()}


@quick
@given(names, values, st.data())
def test_the_unit_of_a_value_does_not_change_its_outcome(name, factor, data):
    base, objective = METRICS[name], OBJECTIVES[name]
    bound = objective.limits[0].bound
    assume(abs(factor - 1) > 1e-9)
    value, sem = factor * bound, 0.03 * factor * bound
    symbol = data.draw(st.sampled_from(SYMBOLS[base]))
    raw = {"score": 1.0, name: written(value, sem, symbol)}
    direct = Estimate(raw[name]["value"], raw[name]["sem"], 1, symbol)
    plain = objective.in_units(as_estimates({"score": 1.0, name: value}))
    ways = {
        "read": objective.in_units(as_estimates(raw)),
        "as it stands": {"score": 1.0, name: direct},
        "measured": Measurement(metrics={"score": Estimate(1.0), name: direct}).metrics,
        "kept in a ledger": Measurement.from_dict(
            {"metrics": {"score": {"value": 1.0}, name: raw[name]}}
        ).metrics,
        "declared": as_estimates({"score": 1.0, name: raw[name]["value"]}, {name: symbol}),
        "program": read_metrics({"score": 1.0, name: raw[name]["value"]}, {name: symbol}),
    }
    expected = (factor < 1, (), {} if factor < 1 else scored(objective, plain)[2])
    assert scored(objective, plain) == expected
    for way, metrics in ways.items():
        assert scored(objective, metrics) == expected, way
        if way != "as it stands":
            assert metrics[name].unit == base, way
            assert metrics[name].value == pytest.approx(value), way
            assert metrics[name].sem in (None, pytest.approx(sem)), way


@quick
@given(
    st.lists(
        st.tuples(st.floats(0.1, 1.0), st.sampled_from(SYMBOLS["s"])),
        min_size=2,
        max_size=6,
        unique_by=lambda pair: round(pair[0], 6),  # rounding decides between equals
    )
)
def test_best_front_limits_and_what_models_see_are_the_same_in_every_unit(measured):
    objective = Objective.from_dict(
        {"minimize": "wait", "limits": ["ttft.p99 <= 500 ms", "wait <= 130 % of default"]}
    )

    def study(in_unit):
        trials = []
        for number, (value, symbol) in enumerate(measured):
            raw = written(value, value / 50, symbol if in_unit else "s")
            metrics = Measurement(metrics=as_estimates({"wait": raw, "ttft.p99": raw}))
            suggestion = Suggestion({"b": number + 1}, Reason.INITIAL)
            trials.append(Trial(number, suggestion, TrialState.COMPLETED, 1, metrics))
        bound = ranking.anchored(trials, objective, SPACE)
        data = read_history(trials, bound)
        best = ranking.best_trial(trials, bound)
        return best and best.number, [list(series.Y.round(6)) for series in (*data.goals, *data.limits)]

    bounds = (0.5, 1.3 * measured[0][0])  # rounding decides what lies on a bound
    assume(all(abs(value - bound) > 1e-9 * bound for value, _ in measured for bound in bounds))
    assert study(in_unit=True) == study(in_unit=False)


WRONG = [
    ("ttft.p99", "GiB"), ("ttft.p99", "%"), ("memory.peak", "ms"), ("quality.perplexity", "s"),
    ("ttft.p99", "images/s"), ("ttft.p99", "msec"), ("ttft.p99", "MS"), ("wait", "GiB"), ("wait", "images/s"),
    ("wait", "Ms"), ("output_throughput", "requests/s"), ("wait", "%"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "unit"), WRONG)
def test_a_wrong_dimension_is_one_error_and_the_trial_stays_open(metric, unit):
    objective = {"maximize": "output_throughput", "limits": ["wait <= 500 ms"]}
    good = {"output_throughput": 1.0, "wait": 0.1}
    with autotune.Study(SPACE, objective, engine="sobol") as study:
        trial = study.ask()
        for call in (
            lambda: study.tell(trial, {**good, metric: {"value": 4.0, "unit": unit}}),
            lambda: study.tell(trial, {**good, metric: Estimate(4.0, unit=unit)}),
            lambda: study.add({"b": 3}, {**good, metric: Estimate(4.0, unit=unit)}),
        ):
            with pytest.raises(SpecError, match=metric):
                call()
        assert [t.state.finished for t in study.trials] == [False]
        if (metric, unit) == ("wait", "%"):
            return  # a share is a plain number to a measurement, which knows no limits
        checked = study.checked(Measurement(metrics={metric: Estimate(4.0, unit=unit)}))
        assert checked.failure.cause is Cause.OWNER_MISTAKE
        assert metric in checked.failure.message
        assert metric in checked.facts["reported"]
        assert study.tell(trial, good).state is TrialState.COMPLETED
    with pytest.raises(SpecError, match=metric):
        autotune.tune(
            SPACE,
            lambda _: {**good, metric: {"value": 4.0, "unit": unit}},
            objective,
            trials=3,
            engine="sobol",
        )


def test_a_goal_has_one_dimension_in_all_trials():
    with autotune.Study(SPACE, {"minimize": "wait"}, engine="sobol") as study:
        study.tell(study.ask(), {"wait": {"value": 410, "unit": "ms"}})
        study.tell(study.ask(), {"wait": Estimate(0.2, unit="s")})
        for other in (0.1, {"value": 1, "unit": "B"}, {"value": 1, "unit": "images"}):
            with pytest.raises(SpecError, match="in trial 0: they cannot be compared"):
                study.tell(study.ask(), {"wait": other})
        assert study.best.metrics["wait"] == Estimate(0.2, unit="s")
    with autotune.Study(SPACE, {"maximize": "rate"}, engine="sobol") as study:
        study.tell(study.ask(), {"rate": {"value": 3, "unit": "images/s"}})
        study.tell(study.ask(), {"rate": {"value": 5, "unit": "images/s"}})
        assert study.best.metrics["rate"] == Estimate(5.0, unit="images/s")
        with pytest.raises(SpecError, match="without a unit here and in images/s"):
            study.tell(study.ask(), {"rate": 7})


def test_a_program_in_a_wrong_unit_is_its_owners_mistake_and_one_in_two_units_too():
    for found in ({"ttft.p99": {"value": 4, "unit": "GiB"}}, {"speed": {"value": 4, "unit": "Tokens/s"}}):
        with pytest.raises(AttemptFailed) as caught:
            read_metrics(found, {})
        assert caught.value.failure.cause is Cause.OWNER_MISTAKE
    with pytest.raises(AttemptFailed) as caught:
        read_metrics({"wait": {"value": 4, "unit": "s"}}, {"wait": "B"})
    assert caught.value.failure.cause is Cause.OWNER_MISTAKE


def test_numbers_of_other_dimensions_are_never_compared():
    objective = Objective.from_dict({"maximize": "ttft.p99", "limits": ["wait <= 500 ms", "plain <= 3"]})
    odd = objective.score(
        {
            "ttft.p99": Estimate(1.0, unit="B"),
            "wait": Estimate(0.1, unit="B"),
            "plain": Estimate(1.0, unit="s"),
        }
    )
    assert odd.values == (None,)
    assert set(odd.missing) == {"ttft.p99", "wait", "plain"}
    own = objective.score({"ttft.p99": 1.0, "wait": 0.1, "plain": Estimate(4.0, unit="images")})
    assert own.missing == ()
    assert set(own.violations) == {"plain <= 3"}


def table_of(folder, unit, size, wait):
    spec = {
        "task": "task", "tasks": ["t"], "params": {"b": "ordinal"}, "status": "status",
        "objective": "speed", "direction": "max", "limits": ["wait <= 500 ms"],
        "metrics": {"speed": "tokens/s", "wait": unit},
    }  # fmt: skip
    (folder / "specs.json").write_text(json.dumps({"mine": spec}))
    with (folder / "mine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "b", "status", "speed", "wait", "wait.sem"])
        writer.writerows(
            ["t", i + 1, "ok", 10.0 * (i + 1), w / size, w / size / 10] for i, w in enumerate(wait)
        )
    return folder / "mine.csv"


@pytest.mark.parametrize(
    ("unit", "size"), [("ms", 1e-3), ("s", 1.0), ("us", 1e-6), ("1", 1.0), ("min", 60.0)]
)
def test_a_table_is_converted_when_it_is_read(tmp_path, unit, size):
    table = read_table(table_of(tmp_path, unit, size, [0.41, 0.6]))
    objective = Objective.from_dict(table.objective)
    kept = [objective.score(row.metrics).feasible for row in table.rows]
    assert kept == [True, False]
    assert table.rows[0].metrics["wait"].sem == pytest.approx(0.041)


def test_a_table_of_a_wrong_unit_is_refused(tmp_path):
    path = table_of(tmp_path, "ms", 1e-3, [0.41])
    text = (tmp_path / "specs.json").read_text()
    (tmp_path / "specs.json").write_text(text.replace('"tokens/s"', '"Tokens/s"'))
    with pytest.raises(UnitError, match=r"table mine: metric 'speed'.*'Tokens/s'"):
        read_table(path)


def test_a_ledger_that_holds_other_units_is_read_in_base_units(tmp_path):
    objective = {"maximize": "speed", "limits": ["ttft.p99 <= 500 ms", "wait <= 500 ms"]}
    path = tmp_path / "ledger.sqlite"
    with autotune.Study(SPACE, objective, engine="sobol", path=path) as study:
        trial = study.ask()
        attempt = study.start_attempt(trial.number, executor="caller")
        old = Measurement()
        as_was = {
            "speed": Estimate(2.0),
            "ttft.p99": Estimate(410.0, 2.0, 1, "ms"),
            "wait": Estimate(410.0, None, 1, "ms"),
        }
        object.__setattr__(old, "metrics", as_was)  # as versions before this one wrote it
        study.finish_attempt(trial.number, attempt, old, state=TrialState.COMPLETED)
    with autotune.Study.open(path) as study:
        assert study.best.metrics["ttft.p99"] == Estimate(0.41, 0.002, 1, "s")
        assert study.outcome(study.trials[0]).feasible
        assert (
            study.tell(study.ask(), {"speed": 3.0, "ttft.p99": 0.4, "wait": 0.4}).state
            is TrialState.COMPLETED
        )
    plain = replace(Estimate(1.0), unit="%")
    assert Measurement(metrics={"share": plain}).metrics["share"] == Estimate(0.01)


def test_a_plain_number_keeps_the_unit_of_a_limit_that_is_gone(tmp_path):
    path = tmp_path / "ledger.sqlite"
    both = {"maximize": "speed", "limits": ["wait <= 200 ms", "mem <= 3.5 GB"]}
    one, none = {**both, "limits": ["wait <= 60 ms"]}, {"maximize": "speed"}
    values = {"speed": 1.0, "wait": 0.05, "mem": 3e9}
    for objective in (both, one, none, one):
        with autotune.Study(SPACE, objective, engine="sobol", name="s", path=path) as study:
            study.tell(study.ask(), values)
            assert {t.metrics["mem"] for t in study.trials} == {Estimate(3e9, unit="B")}
            assert {t.metrics["wait"] for t in study.trials} == {Estimate(0.05, unit="s")}
    with (
        autotune.Study(SPACE, none, engine="sobol", name="s", path=path) as study,
        pytest.raises(SpecError, match="in trial 0: they cannot be compared"),
    ):
        study.tell(study.ask(), {**values, "mem": {"value": 3, "unit": "s"}})
