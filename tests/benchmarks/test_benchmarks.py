"""The suite that compares optimizers: its problems, its fairness, its resuming, its statistics."""

import gzip
import json

import numpy as np
import pytest
from optuna.trial import FrozenTrial

from autotune.core.measurement import Cause
from autotune.core.trial import config_key
from benchmarks import calibration, compare, measures, paired, report
from benchmarks.crew import run
from benchmarks.methods import is_peer, method
from benchmarks.methods.base import nearest_config
from benchmarks.problems import builders, problems
from benchmarks.race import noisy, race

SMALL = ("branin", "rosenbrock", "cash")


@pytest.mark.parametrize("name", SMALL)
def test_the_known_optimum_is_the_best_of_all(name):
    (problem,) = problems([name])
    table = problem.space.table()
    qualities = [problem.quality(config) for config in table.configs(range(len(table)))]
    assert max(qualities) == pytest.approx(1.0)
    assert sum(q >= 0.95 for q in qualities) < 0.03 * len(qualities)


@pytest.mark.parametrize("name", ["hartmann6", "ackley", "wide", "serving"])
def test_no_random_configuration_beats_the_known_optimum(name):
    (problem,) = problems([name])
    found = [problem.quality(config) for config in problem.space.sample(100, np.random.default_rng(0))]
    assert 0 < max(found) <= 1 + 1e-9


def test_the_known_optima_are_reached():
    (ackley,) = problems(["ackley"])
    best = {"x0": 9, "x1": 4, "x2": 11, "x3": 6, "kernel": "flash", "layout": "blocked"}
    assert ackley.quality(best) == pytest.approx(1.0)
    (wide,) = problems(["wide"])
    names = ("batch", "bits", "shards", "attention", "share")
    start = wide.space.default_config
    while True:  # climbing over pairs of the parameters that matter
        near = [start | {a: u, b: v} for a in names for b in names if a < b
                for u in wide.space[a].levels for v in wide.space[b].levels]  # fmt: skip
        best = max(near, key=wide.quality)
        if wide.quality(best) <= wide.quality(start):
            break
        start = best
    assert wide.quality(start) == pytest.approx(1.0)


def test_problems_fail_and_break_limits():
    (problem,) = problems(["rosenbrock"])
    table = problem.space.table()
    truths = [problem.truth(config) for config in table.configs(range(0, len(table), 7))]
    failed = [isinstance(truth, Cause) for truth in truths]
    assert 0.05 < np.mean(failed) < 0.5
    broken = [not isinstance(t, Cause) and not problem.objective.score(t).feasible for t in truths]
    assert 0 < np.mean(broken) < 0.3


def test_problems_are_chosen_by_pattern():
    assert list(builders(["hart*", "cash"])) == ["hartmann6", "cash"]
    with pytest.raises(ValueError, match="no problem is called 'kt_"):
        builders(["kt_*"])


def test_a_folder_of_tables_is_replayed(tmp_path):
    import gzip

    spec = {"params": {"size": "ordinal", "kind": "categorical"}, "task": "task", "tasks": ["one", "few"],
            "objective": "ms", "direction": "min", "status": "status"}  # fmt: skip
    (tmp_path / "specs.json").write_text(json.dumps({"small": spec}))
    rows = ["task,size,kind,ms,status"]
    rows += [
        f"one,{s},{k},{1 + s / 4 + (k == 'b')},{'oom' if s == 3 else 'ok'}" for s in range(16) for k in "ab"
    ]
    with gzip.open(tmp_path / "small.csv.gz", "wt") as file:
        file.write("\n".join([*rows, "few,1,a,2,ok"]) + "\n")
    assert list(builders(["small*"], tmp_path)) == ["small/one"]  # the other has too few rows
    (problem,) = problems(["small*"], tmp_path)
    assert problem.optimum == 1.0
    assert problem.quality({"size": 4, "kind": "a"}) == 0.5
    assert problem.truth({"size": 3, "kind": "a"}) is Cause.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "name",
    [
        "random",
        "coordinate_descent",
        pytest.param(
            "optuna:tpe",
            marks=pytest.mark.skipif(
                not hasattr(FrozenTrial, "set_constraint"), reason="the peer is Optuna 5"
            ),
        ),
    ],
)
@pytest.mark.parametrize("parallel", [1, 4])
def test_sessions_are_legal_and_begin_with_the_default(name, parallel):
    for problem in problems(["rosenbrock", "cash"]):
        result = race(problem, method(name), 3, 30, parallel)
        assert {len(result[key]) for key in ("quality", "recommended", "best", "failed", "ask")} == {30}
        assert result["quality"][0] == pytest.approx(problem.quality(problem.space.default_config), abs=1e-6)
        assert result["best"] == sorted(result["best"])
        if not name.startswith("optuna"):
            assert sum(result["repeat"]) == 0


def test_coordinate_descent_goes_down_one_parameter_at_a_time():
    (problem,) = problems(["branin"])
    session = method("coordinate_descent").start(problem, 0, 40)
    first = session.ask()
    session.tell(first, problem.measure(first, np.random.default_rng(0)))
    for _ in range(11):
        config = session.ask()
        assert sum(config[name] != first[name] for name in config) == 1
        session.tell(config, problem.measure(config, np.random.default_rng(0)))
    assert race(problem, method("coordinate_descent"), 0, 60, 1)["best"][-1] > 0.6


def test_refused_proposals_end_at_the_nearest_allowed_configuration():
    (problem,) = problems(["rosenbrock"])
    near = nearest_config(problem.space, {"a": 2.0, "b": 2.0, "c": -2.0, "d": 2.0})
    assert problem.space.explain(near) == []
    assert sum(near[name] != wanted for name, wanted in zip("abcd", (2.0, 2.0, -2.0, 2.0), strict=True)) <= 2
    same = problem.space.default_config
    assert nearest_config(problem.space, same) == same


def test_methods_meet_the_same_noise():
    (problem,) = problems(["serving"])
    a, b = problem.space.sample(2, np.random.default_rng(0))
    first = noisy(problem, a, 1, 0)
    assert first == noisy(problem, a, 1, 0)
    others = [noisy(problem, a, 2, 0), noisy(problem, a, 1, 1), noisy(problem, b, 1, 0)]
    assert all(other.metrics != first.metrics for other in others)
    assert config_key(a) != config_key(b)


@pytest.mark.parametrize(("name", "peer"), [("gp", 0), ("gp:initial=5", 0), ("optuna:gp", 1), ("random", 1)])
def test_peers_are_told_from_ours(name, peer):
    assert is_peer(name) == bool(peer)


def test_names_of_methods_carry_options():
    assert method("gp:initial=5").section == {"use": "gp", "initial": 5}
    with pytest.raises(ValueError, match="unknown sampler"):
        method("optuna:nothing")


def test_an_interrupted_comparison_goes_on(tmp_path, capsys):
    out = tmp_path / "results.jsonl"
    arguments = ["--methods", "random,coordinate_descent", "--problems", "branin", "--seeds", "2",
                 "--trials", "4", "--out", str(out)]  # fmt: skip
    tasks = list(compare.all_tasks(["branin"], ["random", "coordinate_descent"], 2, [1], 4))
    done = {**vars(tasks[0]), **run(tasks[0], None)}
    compare.append(out, done)
    with out.open("a") as file:
        file.write('{"seed":0,"problem":"bra')  # torn by a crash
    compare.main(arguments)
    assert "4 runs, 1 done already" in capsys.readouterr().out
    results = compare.read_results(out)
    assert len(results) == 4
    assert {compare.task_of(r) for r in results} == set(tasks)
    assert results[0] == json.loads(json.dumps(done))
    compare.main(arguments)
    assert "4 runs, 4 done already" in capsys.readouterr().out
    assert compare.read_results(out) == results
    assert {len(r["recommended"]) for r in results} == {4}


def test_an_error_is_a_result_and_is_shown(capsys, tmp_path):
    task = compare.Task(0, "branin", "no_such_engine", 1, 4)
    result = run(task, None)
    assert "no_such_engine" in result["error"]
    assert compare.tasks_left([task], [{**vars(task), **result}], retry=False) == []
    assert compare.tasks_left([task], [{**vars(task), **result}], retry=True) == [task]
    compare.append(tmp_path / "r.jsonl", {**vars(task), **result})
    report.main([str(tmp_path / "r.jsonl")])
    assert "1 runs ended in an error" in capsys.readouterr().out


def _line(problem, name, seed, best, *, failed=0, parallel=1):
    n = len(best)
    lists = {"quality": best, "recommended": best, "best": best, "failed": [1] * failed + [0] * (n - failed)}
    lists |= {"broke": [0] * n, "repeat": [0] * n, "ask": [0.1] * n}
    task = {"problem": problem, "method": name, "seed": seed, "parallel": parallel, "trials": n}
    return {**task, **lists, "refused": 0, "exhausted": False}


def test_holm_corrects_step_by_step():
    assert measures.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert measures.holm([0.9, 0.6]) == [1.0, 1.0]
    assert measures.holm([]) == []


def test_who_never_gets_there_counts_the_budget_and_one():
    run_there = _line("p", "gp", 0, [0.2, 0.96, 0.96])
    assert measures.trials_to(run_there) == 2
    never = _line("p", "gp", 1, [0.2, 0.3, 0.94])
    assert measures.trials_to(never) == 4
    assert measures.at_look(never, 40) == 0.94  # a run that ended early keeps its last


def test_what_a_choice_costs_is_paired_by_problem_and_seed(tmp_path, capsys):
    lines = [_line("p", "gp", 0, [0.2, 0.3, 0.4, 0.96]), _line("p", "gp", 1, [0.2, 0.96, 0.96, 0.96])]
    lines += [
        _line("p", "without:x", s, [0.2, 0.3, 0.4, last], failed=1) for s, last in ((0, 0.96), (1, 0.9))
    ]
    lines += [_line("p", "without:x", 7, [1.0] * 4), _line("q", "without:x", 0, [1.0] * 4)]  # without a pair
    for line in lines:
        line["ask"] = [0.0] * 3 + [0.1 if line["method"] == "gp" else 0.2]
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    paired.main([str(path)])
    row = "| without:x | 2 | +1.5 (1.5) | +1.0 (0.0) | +0.0 (0.0) | -0.030 (0.030) | 2.00 [2.00, 2.00] |"
    assert capsys.readouterr().out.count(row) == 2  # over all problems, and of the one


def test_a_problem_that_was_run_longer_is_judged_by_the_longer_runs():
    short, long = [_line("p", "gp", 0, [0.2] * n) for n in (3, 5)]
    other = _line("q", "gp", 0, [0.2, 0.3, 0.94])
    results = report.collect([short, other, long], 1, [2, 5])
    assert results.of("p", "gp") == [long]
    assert results.of("q", "gp") == [other]
    assert results.looks == (2,)  # as far as all of them go


def test_the_report_of_a_small_file(tmp_path, capsys):
    lines = []
    for seed in range(8):
        lift = 0.001 * seed
        lines.append(_line("p", "gp", seed, [0.5 + lift, 0.96 + lift, 0.97 + lift], failed=1))
        lines.append(_line("p", "random", seed, [0.5, 0.6 - lift, 0.951 if seed < 6 else 0.7], failed=2))
        lines.append(_line("p", "ax", seed, [0.5 + lift, 0.6, 0.7], failed=3))
    torn = json.dumps(lines[1])[:20]
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    runs = report.collect(compare.read_results(path), 1, [2, 10]).runs
    assert report.collect(compare.read_results(path), 1, [2, 10]).looks == (2,)
    tests = measures.compare(runs, "gp", ["random", "ax"], [2])
    assert [t.direction for t in tests] == [1, 1]
    assert all(t.p == pytest.approx(2 * 2 / 2**8) for t in tests)  # the least of 8 pairs, twice
    worse = measures.compare(runs, "random", ["gp"], [2])
    assert worse[0].direction == -1
    assert measures.ratios(runs, "gp", ["random", "ax"]) == {"p": (2 / 3, "random")}
    middle, low, high = measures.ratio_interval(runs, "gp", ["random", "ax"])
    assert low <= middle <= high <= 1
    report.main([str(path), "--looks", "2,3"])
    text = capsys.readouterr().out
    assert "gp is significantly worse in 0 of 4" in text
    assert "gp is significantly better in 4 of 4" in text
    assert "gp 1.0, best peer 2.0 (random), ratio 0.50" in text
    assert max(map(len, text.splitlines())) <= 100
    report.main([str(path), "--markdown", "--looks", "2,3"])
    assert "| gp | 0.96 | 0.97 | 100% |" in capsys.readouterr().out


def test_equal_runs_are_no_difference():
    assert measures.paired_p([0.0] * 20) == 1.0
    assert measures.paired_p([0.1] * 20) < 1e-4


@pytest.mark.slow
def test_calibration_takes_the_engine_at_its_word(tmp_path, capsys):
    out = tmp_path / "calibration.jsonl"
    arguments = ["--problems", "branin", "--seeds", "1", "--trials", "8", "--first", "6", "--out", str(out)]
    calibration.main(arguments)
    (run_,) = compare.read_results(out)
    assert [len(run_[key]) for key in calibration.KEYS] == [8] * len(calibration.KEYS)
    assert run_["bound"][:5] == [None] * 5
    assert all(
        bound >= median >= 0 for bound, median in zip(run_["bound"][5:], run_["median"][5:], strict=True)
    )
    assert all(0 <= gap < 100 for gap in run_["gap"])
    capsys.readouterr()
    calibration.main([*arguments, "--jobs", "0"])
    assert "1 runs, 0 to do" in capsys.readouterr().out


def test_calibration_counts_coverage_and_stops():
    def made(bounds, gaps, converged):
        return {"problem": "p", "bound": bounds, "gap": gaps, "converged": converged}

    runs = [
        made([None, 10.0], [50.0, 5.0], [None, True]),
        made([None, 2.0], [50.0, 5.0], [None, False]),
        made([None, 2.0], [50.0, None], [None, True]),  # it truly breaks a limit
    ]
    assert calibration.covered(runs, 2) == [(5.0, 10.0), (5.0, 2.0)]
    assert [calibration.stopped_at(r) for r in runs] == [2, None, 2]
    text = "\n".join(calibration.tables_of(runs, [2]))
    assert "50 % of 2, 6, 5" in text
    assert "2 of 3" in text
    assert "5, inf" in text or "inf, inf" in text


def test_the_gap_is_what_the_goal_may_still_change_by():
    serving, branin = problems(["serving", "branin"])
    assert calibration.gap_of(serving, 0.8) == pytest.approx(25.0)  # may rise by a quarter
    assert calibration.gap_of(branin, 0.8) == pytest.approx(20.0)  # may fall by a fifth
    assert calibration.gap_of(serving, 0.0) is None


def test_botorch_finds_the_hyper_parameters_that_our_fit_finds():
    from autotune.engine.gp.choices import ADDITIVE, RUGGED
    from autotune.engine.gp.model.fit import fit_hyper
    from benchmarks.methods.botorch_fit import fit_by_botorch

    rng = np.random.default_rng(0)
    X = rng.random((20, 3))
    squares = np.ascontiguousarray(((X[:, None] - X[None]) ** 2).transpose(2, 0, 1))
    y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2 + 0.05 * rng.standard_normal(20)
    y, known = (y - y.mean()) / y.std(), np.full(20, np.nan)
    for structure in (ADDITIVE, RUGGED):
        ours, theirs = (fit(squares, y, known, structure) for fit in (fit_hyper, fit_by_botorch))
        assert theirs.log_evidence == pytest.approx(ours.log_evidence, abs=0.01)
        assert theirs.lengths == pytest.approx(ours.lengths, rel=0.05)
        assert theirs.mean == pytest.approx(ours.mean, abs=0.01)


def test_the_ablation_of_the_fit_reaches_botorchs(monkeypatch):
    from benchmarks.methods import botorch_fit

    fits = []
    fit = botorch_fit.fit_by_botorch
    monkeypatch.setattr(botorch_fit, "fit_by_botorch", lambda *given: fits.append(1) or fit(*given))
    (problem,) = problems(["branin"])
    assert len(race(problem, method("without:fast_fit"), 0, 5, 1)["quality"]) == 5
    assert fits


@pytest.mark.slow
def test_every_ablation_changes_the_engine_and_only_its_own():
    from benchmarks.methods.ablation import CHOICES

    (problem,) = problems(["serving"])

    def tried(name):
        return race(problem, method(name), 1, 12, 1)

    plain = tried("gp")
    changed = 0
    for name in CHOICES:
        found = tried(f"without:{name}")
        assert len(found["quality"]) == 12
        changed += found["quality"] != plain["quality"]
    assert changed >= 3  # some choices matter only later, or elsewhere
    again = tried("gp")
    assert again["quality"] == plain["quality"]
    with pytest.raises(ValueError, match="unknown choice in 'without:x'; allowed: average"):
        method("without:x")
    assert not is_peer("without:price")
