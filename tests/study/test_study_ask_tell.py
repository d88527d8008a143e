"""The study: ask, tell, add, resume, refuse."""

import math
import re
import threading

import pytest

import autotune
from autotune.core.trial import TrialState
from autotune.errors import LedgerError, SpecError, StudyError

SPACE = autotune.Space(
    (autotune.Int("batch_size", 1, 16, powers_of=2), autotune.Ordinal("bits", (4, 8, 16))),
    ("batch_size * bits <= 128",),
)
OBJECTIVE = {"maximize": "throughput", "limits": ["latency <= 500 ms"]}


def measure(config):
    return {
        "throughput": autotune.Estimate(config["batch_size"] * 10.0 / config["bits"], 0.1, 5, "tokens/s"),
        "latency": config["batch_size"] * 0.05,
    }


def test_first_trial_is_the_default_configuration():
    with autotune.Study(SPACE, OBJECTIVE) as study:
        assert study.ask().config == SPACE.default_config


def test_ask_tell_reaches_the_end_of_the_space_without_repeats():
    with autotune.Study(SPACE, OBJECTIVE, engine="random", seed=3) as study:
        seen = []
        for _ in range(len(SPACE.table())):
            trial = study.ask()
            seen.append(tuple(trial.config.items()))
            study.tell(trial, measure(trial.config))
        assert len(set(seen)) == len(SPACE.table())
        with pytest.raises(StudyError, match="every one of the 14 allowed configurations has been tried"):
            study.ask()
        assert study.ask(2) == []
        feasible = [t for t in study.trials if study.outcome(t).feasible]
        assert study.best.metrics["throughput"].value == max(t.metrics["throughput"].value for t in feasible)
        assert study.best.metrics["latency"].value <= 0.5


def test_several_asks_before_a_tell_differ():
    with autotune.Study(SPACE, OBJECTIVE) as study:
        configs = [trial.config for trial in study.ask(5)]
        assert len({tuple(c.items()) for c in configs}) == 5


def test_configuration_faults_and_environment_faults_are_kept_apart():
    with autotune.Study(SPACE, OBJECTIVE) as study:
        first, second, third = study.ask(3)
        assert study.tell(first, failure="out_of_memory").state is TrialState.INFEASIBLE
        assert study.tell(second, failure="worker_lost").state is TrialState.FAILED
        assert study.tell(third.number, measure(third.config)).state is TrialState.COMPLETED
        with pytest.raises(SpecError, match="did you mean 'out_of_memory'"):
            study.tell(study.ask(), failure="out_of_memry")


@pytest.mark.parametrize("bad", ["812", None, (812.0, 4.0)])
def test_what_is_not_a_number_never_enters(bad):
    with autotune.Study(SPACE, OBJECTIVE) as study:
        trial = study.ask()
        with pytest.raises(SpecError, match="metric 'throughput'"):
            study.tell(trial, {"throughput": bad})
        assert study.trials[0].state is TrialState.WAITING


def test_telling_twice_or_nothing_is_refused():
    with autotune.Study(SPACE, OBJECTIVE) as study:
        trial = study.ask()
        with pytest.raises(SpecError, match="either metrics or a failure"):
            study.tell(trial)
        study.tell(trial, measure(trial.config))
        with pytest.raises(StudyError, match="already has a result: COMPLETED"):
            study.tell(trial, measure(trial.config))
        with pytest.raises(StudyError, match="no trial 7"):
            study.tell(7, measure(trial.config))


def test_add_counts_like_a_trial_and_must_be_in_the_space():
    with autotune.Study(SPACE, OBJECTIVE) as study:
        added = study.add({"batch_size": 8, "bits": 4}, measure({"batch_size": 8, "bits": 4}))
        assert study.best == added
        assert study.ask().config != added.config
        with pytest.raises(SpecError, match="breaks constraint"):
            study.add({"batch_size": 16, "bits": 16}, {"throughput": 1.0})


def test_a_reopened_study_proposes_what_the_uninterrupted_one_would(tmp_path):
    def run(path, stops):
        study = autotune.Study(SPACE, OBJECTIVE, seed=5, path=path)
        for i in range(9):
            if i in stops:
                study.close()
                study = autotune.Study.open(path)
            trial = study.ask()
            study.tell(trial, measure(trial.config))
        configs = [t.config for t in study.trials]
        study.close()
        return configs

    straight = run(tmp_path / "a.sqlite", stops=())
    assert run(tmp_path / "b.sqlite", stops=(1, 4, 8)) == straight


def test_another_space_under_the_same_name_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "ledger.sqlite"
    autotune.Study(SPACE, OBJECTIVE, path=path).close()
    wider = autotune.Space((autotune.Int("batch_size", 1, 32, powers_of=2), SPACE["bits"]), SPACE.constraints)
    with pytest.raises(StudyError, match=r"another search space:\n  parameter batch_size: high: 16 -> 32\n"):
        autotune.Study(wider, OBJECTIVE, path=path)


def widened(tmp_path, **changes):
    """Return a study of three measured trials, gone on with over a changed space."""
    path = tmp_path / "ledger.sqlite"
    with autotune.Study(SPACE, OBJECTIVE, path=path, engine="sobol") as study:
        for value in (10.0, 30.0, 20.0):
            study.tell(study.ask(), {"throughput": value, "latency": 0.01})
        before = study.trials
    data = SPACE.to_dict()
    data["parameters"] |= changes
    return before, autotune.Study(
        autotune.Space.from_dict(data), OBJECTIVE, path=path, engine="sobol", widen=True
    )


def test_a_widened_space_goes_on_with_what_was_measured(tmp_path):
    higher = {**SPACE["batch_size"].to_dict(), "high": 64}
    lookahead = {"type": "int", "low": 0, "high": 4, "default": 2}
    model = {"type": "categorical", "values": ["ngram", "eagle"], "default": "eagle", "when": "lookahead > 0"}
    before, study = widened(tmp_path, batch_size=higher, lookahead=lookahead, model=model)
    with study:
        assert [t.config for t in study.trials] == [
            {**t.config, "lookahead": 2, "model": "eagle"} for t in before
        ]
        assert [t.metrics for t in study.trials] == [t.metrics for t in before]
        assert study.best.number == 1
        fourth = study.ask()
        assert fourth.number == 3
        assert fourth.config not in [t.config for t in study.trials[:3]]
        (note,) = study.ledger.study_notes("study")["widened"]
        assert note["from_trial"] == 3
        assert "parameter batch_size: high: 16 -> 64" in note["changes"]
    again = autotune.Study(study.space, OBJECTIVE, path=tmp_path / "ledger.sqlite", engine="sobol")
    assert len(again.trials) == 4  # the new space is the study's own now
    assert autotune.Study.open(tmp_path).space == study.space


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": {"type": "int", "low": 64, "high": 128}}, r"trial 0 does not fit: .*int from 64"),
        ({"lookahead": {"type": "int", "low": 0, "high": 4}}, "'lookahead' states no default"),
    ],
)  # fmt: skip
def test_a_space_that_loses_a_measurement_is_refused(tmp_path, changes, message):
    with pytest.raises(StudyError, match=message):
        widened(tmp_path, **changes)
    assert autotune.Study.open(tmp_path).space == SPACE  # nothing was changed by the attempt


def test_a_parameter_that_was_measured_cannot_go(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with autotune.Study(SPACE, OBJECTIVE, path=path) as study:
        study.tell(study.ask(), {"throughput": 1.0, "latency": 0.01})
    narrow = autotune.Space((SPACE["batch_size"],))
    with pytest.raises(StudyError, match="parameter 'bits' is gone, and bits="):
        autotune.Study(narrow, OBJECTIVE, path=path, widen=True)


def test_open_names_what_is_there(tmp_path):
    path = tmp_path / "ledger.sqlite"
    autotune.Study(SPACE, OBJECTIVE, path=path, name="chat").close()
    assert autotune.Study.open(tmp_path).name == "chat"
    with pytest.raises(StudyError, match=r"no study 'chta'; the ledger has: chat\n  did you mean 'chat'"):
        autotune.Study.open(path, "chta")
    with pytest.raises(StudyError, match="no ledger at"):
        autotune.Study.open(tmp_path / "nothing.sqlite")


def test_to_frame_has_a_row_per_trial():
    with autotune.Study(SPACE, OBJECTIVE) as study:
        for trial in study.ask(2):
            study.tell(trial, measure(trial.config))
        frame = study.to_frame()
        assert list(frame["number"]) == [0, 1]
        assert frame["metrics.throughput.sem"].iloc[0] == 0.1
        assert frame["params.bits"].iloc[0] == SPACE.default_config["bits"]


@pytest.mark.parametrize("metric", ["throughput", "latency"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, {"value": math.nan}, [1.0, math.nan]])
def test_a_goal_or_limit_that_is_not_finite_is_wrong_output(metric, bad):
    with autotune.Study(SPACE, OBJECTIVE) as study:
        trial = study.tell(study.ask(), {**measure({"batch_size": 1, "bits": 4}), metric: bad})
        assert trial.state is TrialState.INFEASIBLE
        assert trial.failure.cause is autotune.Cause.WRONG_OUTPUT
        assert f"{metric!r} is {'inf' if bad == math.inf else 'nan'}" in trial.failure.message


@pytest.mark.parametrize("metric", ["throughput", "latency"])
@pytest.mark.parametrize(
    "bad", [1e308, -1e308, 10**400, [1e308] * 20, {"value": 1.0, "sem": 1e200}, autotune.Estimate(1e308)]
)
def test_a_goal_or_limit_that_is_too_large_is_wrong_output(metric, bad):
    with autotune.Study(SPACE, OBJECTIVE) as study:
        trial = study.tell(study.ask(), {**measure({"batch_size": 1, "bits": 4}), metric: bad})
        assert trial.failure.cause is autotune.Cause.WRONG_OUTPUT
        assert re.search("beyond 1e\\+150|which is too large", trial.failure.message)
        assert study.best is None


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"thruput": 1.0, "latency": 1.0},
         "the goal 'throughput'; reported: thruput, latency; did you mean 'thruput'?"),
        ({"throughput": 1.0}, "lacks the limit on 'latency'"),
        ({"power": 1.0}, "lacks the limit on 'latency' and the goal 'throughput'"),
    ],
)  # fmt: skip
def test_a_result_without_a_needed_metric_is_wrong_output(metrics, said):
    with autotune.Study(SPACE, OBJECTIVE) as study:
        told = study.tell(study.ask(), metrics)
        added = study.add(SPACE.default_config, metrics)
        for trial in (told, added):
            assert trial.state is TrialState.INFEASIBLE
            assert trial.failure.cause is autotune.Cause.WRONG_OUTPUT
            assert said in trial.failure.message
            assert set(trial.measurement.facts["reported"]) == set(metrics)
        assert [(group.cause, group.count) for group in study.failures] == [(autotune.Cause.WRONG_OUTPUT, 2)]


def test_another_metric_that_is_not_finite_is_left_out_and_said():
    with autotune.Study(SPACE, OBJECTIVE) as study:
        trial = study.ask()
        told = study.tell(trial, {**measure(trial.config), "power": math.nan})
        assert told.state is TrialState.COMPLETED
        assert "power" not in told.metrics
        assert "power is nan" in told.measurement.facts["measured"]["warnings"][0]


def test_ask_takes_a_count_of_at_least_zero():
    with autotune.Study(SPACE, OBJECTIVE) as study:
        assert study.ask(0) == []
        assert study.trials == []
        for wrong in (-1, 1.5, "2", True):
            with pytest.raises(SpecError, match="n must be a whole number of at least 0"):
                study.ask(wrong)


def test_several_threads_use_one_study():
    errors = []
    with autotune.Study(SPACE, OBJECTIVE, engine="sobol") as study:

        def work():
            try:
                for _ in range(3):
                    trial = study.ask()
                    study.tell(trial, measure(trial.config))
            except Exception as error:  # noqa: BLE001 - shown below
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 12
        assert len({trial.key for trial in study.trials}) == 12


def test_another_objective_scores_what_was_measured_and_is_stored(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with autotune.Study(SPACE, OBJECTIVE, path=path, engine="sobol") as study:
        for trial in study.ask(4):
            study.tell(trial, measure(trial.config))
        assert study.rescored == ""
    with autotune.Study(SPACE, {"minimize": "latency"}, path=path, engine="sobol") as study:
        least = min(trial.metrics["latency"].value for trial in study.trials)
        assert study.best.metrics["latency"].value == least
        assert "-> minimize latency; scored anew: 4 measured trials" in study.rescored
    with autotune.Study.open(path) as again:
        assert str(again.objective) == "minimize latency"
        assert again.best.metrics["latency"].value == least


def test_an_objective_that_the_measurements_cannot_tell_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with autotune.Study(SPACE, OBJECTIVE, path=path) as study:
        study.tell(study.ask(), measure(SPACE.default_config))
    with pytest.raises(StudyError, match=r"trial 0 did not measure power; it measured latency, throughput"):
        autotune.Study(SPACE, {"minimize": "power"}, path=path)
    with autotune.Study.open(path) as again:
        assert str(again.objective) == str(study.objective)


def test_a_path_makes_its_folder_or_says_why_not(tmp_path):
    with autotune.Study(SPACE, OBJECTIVE, path=tmp_path / "new" / "deep" / "x.sqlite") as study:
        assert study.path.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"path: the folder .*file cannot be made: something on its way"):
        autotune.Study(SPACE, OBJECTIVE, path=tmp_path / "file" / "x.sqlite")
    with pytest.raises(StudyError, match=r"the folder has x\.sqlite"):
        autotune.Study.open(tmp_path / "new" / "deep")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"space": None}, "space must be a Space"),
        ({"objective": "throughput"}, "objective must be an Objective or a mapping"),
        ({"engine": 5}, "engine must be a name, a mapping or an engine"),
        ({"seed": "x"}, "seed must be a whole number"),
        ({"name": ""}, "name must be a text"),
        ({"path": 5}, "path must name a ledger file"),
        ({"budget": 0}, "budget must be a whole number"),
    ],
)
def test_a_wrong_argument_is_one_error_that_names_it(arguments, said):
    with pytest.raises(SpecError, match=said):
        autotune.Study(**{"space": SPACE, "objective": OBJECTIVE} | arguments)


def test_the_choices_of_the_engine_are_kept_with_the_study(tmp_path):
    with autotune.Study(
        SPACE, OBJECTIVE, engine={"use": "gp", "initial": 5}, path=tmp_path / "l.sqlite"
    ) as study:
        kept = study.ledger.study_notes(study.name)["engine choices"]
    assert (kept["initial"], kept["surrogate"], kept["waste"]) == (5, "auto", 0.01)
    assert [s["part_length"] for s in kept["structures"]] == [0.6] * 3
    with autotune.Study(SPACE, OBJECTIVE, engine="sobol", path=tmp_path / "l.sqlite", name="other") as study:
        assert study.ledger.study_notes("other").get("engine choices") is None


def test_no_failure_takes_a_secret_into_the_ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "canary-5ecret-value")
    path = tmp_path / "ledger.sqlite"
    said = autotune.Failure(
        autotune.Cause.CRASHED_UNDER_LOAD, "with canary-5ecret-value", "token=planted-secret\nthe end"
    )
    with autotune.Study(SPACE, OBJECTIVE, name="told", path=path) as study:
        study.tell(study.ask(), failure=said)
        study.add(SPACE.default_config | {"bits": 8}, failure=said)
        for trial in study.trials:
            assert trial.failure.message == "with [redacted]"
            assert trial.failure.log_tail == "token=[redacted]\nthe end"

    def function(config):
        raise autotune.Infeasible("not with canary-5ecret-value")

    autotune.tune(SPACE, function, OBJECTIVE, name="tuned", path=path, trials=2)
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert b"canary-5ecret" not in held  # Plotly has a canary of its own
    assert b"planted" not in held
    assert b"not with [redacted]" in held


@pytest.mark.parametrize("kept", [False, True])
def test_a_closed_study_says_so_and_is_not_taken_for_lost(tmp_path, kept):
    path = tmp_path / "ledger.sqlite" if kept else None
    study = autotune.Study([autotune.Int("n", 1, 9)], {"maximize": "y"}, engine="random", path=path)
    trial = study.ask()
    study.close()
    calls = (
        study.ask, lambda: study.tell(trial, {"y": 1.0}), lambda: study.abandon(0), lambda: study.result,
        lambda: study.add({"n": 3}, {"y": 1.0}), lambda: study.enqueue({"n": 4}),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(LedgerError, match=f"the ledger {path or 'in memory'}: it was closed"):
            call()
    study.ledger.ensure_kept()
    assert not list(tmp_path.glob("*rescued*"))


@pytest.mark.parametrize("kept", [False, True])
def test_a_closed_study_tells_its_trials_and_what_follows_from_them(tmp_path, kept):
    path = tmp_path / "ledger.sqlite" if kept else None
    study = autotune.Study(
        [autotune.Int("n", 1, 9)],
        {"maximize": "y"},
        engine="random",
        path=path,
        spec={"budget": {"confirm": 1}},
    )
    study.add({"n": 3}, {"y": 1.0})
    study.ledger.set_study_note(study.name, "stopped", {"reason": "enough"})

    def told():
        return (
            study.trials,
            study.best,
            study.stopped,
            study.decide(),
            study.pareto_front,
            study.predictions,
            repr(study),
        )

    open_ = told()
    study.close()
    study.close()
    assert told() == open_
    assert study.assess() is None
    html = study._repr_html_()
    assert html.startswith("<table")
    assert "&lt;Study &#x27;study&#x27;" in html
    assert "it was closed" in html
    for read in (lambda: study.view, lambda: study.export("args")):
        with pytest.raises(LedgerError, match="it was closed"):
            read()


@pytest.mark.parametrize("path", ["x" * 300, "x/" * 3000, f"{'x' * 256}/ledger.sqlite"])
def test_a_path_that_no_file_can_have_is_refused(path):
    with pytest.raises(SpecError, match="path must name a ledger file"):
        autotune.Study([autotune.Int("n", 1, 9)], {"maximize": "y"}, path=path)
    with pytest.raises(SpecError, match="path must name a ledger file"):
        autotune.Study.open(path)
