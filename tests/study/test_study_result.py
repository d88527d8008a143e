"""study.result: in Python what `autotune best` prints, and how values show themselves."""

import json

import pytest
from IPython.core.formatters import DisplayFormatter

import autotune
from autotune.cli.app import main
from autotune.core.measurement import Estimate, Failure, Measurement
from autotune.core.trial import Reason, Suggestion
from autotune.core.verdict import Verdict
from autotune.ledger import study_lock
from autotune.report.summary import best_lines

SPACE = autotune.Space(
    [
        autotune.Int("batch_size", 1, 64, scale="log2", powers_of=2),
        autotune.Ordinal("bits", (4, 8, 16), when="batch_size > 1", description="<u>bits</u>"),
    ],
    constraints=["batch_size <= 32"],
)
GOAL = {"maximize": "throughput", "limits": ["ttft.p99 <= 500 ms"]}


def repeated(path=None, name="study"):
    """A study in which a lucky measurement was repeated: 1984 and then 2326 and 2668."""
    study = autotune.Study(SPACE, GOAL, engine="sobol", name=name, path=path)
    for config in ({"batch_size": 1}, {"batch_size": 8, "bits": 4}):
        first, *again = (100.0, 104.0, 96.0) if config["batch_size"] == 1 else (1984.0, 2326.0, 2668.0)
        study.add(config, {"throughput": Estimate(first, 9.0, 8), "ttft.p99": 0.2})
        for value in again:
            trial = study.suggest(Suggestion(dict(config), Reason.CONFIRM))
            study.tell(trial, {"throughput": Estimate(value, 9.0, 8), "ttft.p99": 0.21})
    return study


def test_the_result_has_the_value_pooled_over_the_launches_that_count():
    study = repeated()
    assert study.best.metrics["throughput"].value == 1984.0  # of one trial
    found = study.result
    assert found.config == {"batch_size": 8, "bits": 4}
    assert found.metrics["throughput"].value == (2326.0 + 2668.0) / 2
    assert found.confirmed
    assert found.default.metrics["throughput"].value == 100.0
    assert found.improvement.low < found.improvement.value < found.improvement.high
    assert "times better" in found.verdict.text
    assert found.chances["ttft.p99 <= 500 ms"] > 0.95
    assert [c.config for c in found.pareto_front] == [found.config]
    assert (found.deployment, found.command) == (None, "")
    assert str(found) == "\n".join(best_lines(found.view))


def test_the_result_is_what_the_command_prints(tmp_path, capsys):
    with repeated(tmp_path / "ledger.sqlite") as study:
        mine = study.result.to_dict()
    assert main(["best", "study", "--store", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(mine))


def test_the_result_of_a_study_of_a_system_deploys_what_the_command_deploys(tmp_path, capsys):
    program = ["python3", "-c", "print('throughput: 5')"]
    spec = {
        "system": {"use": "command", "argv": program, "metrics": "stdout"},
        "budget": {"confirm": 2},
    }
    path = tmp_path / "ledger.sqlite"
    with autotune.Study(SPACE, GOAL, engine="random", name="served", path=path, spec=spec) as study:
        study.add({"batch_size": 1}, {"throughput": 5.0, "ttft.p99": 0.2})
        mine = study.result.to_dict()
        assert study.result.command
        assert "`autotune resume served" in study.result.settle or study.result.settle == ""
    assert main(["best", "served", "--store", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(mine))


@pytest.mark.parametrize("failure", [None, "out_of_memory"])
def test_the_result_of_nothing_raises_nothing(failure):
    study = autotune.Study(SPACE, GOAL)
    if failure:
        study.tell(study.ask(), failure=failure)
    found = study.result
    assert (found.winner, found.config, found.default, found.improvement) == (None, None, None, None)
    assert (found.metrics, found.chances, found.pareto_front, found.settle) == ({}, {}, [], "")
    assert found.to_dict()["best"] is None
    assert not found.confirmed
    assert found.verdict.kind == ("nothing feasible" if failure else "undecided")
    for text in (str(found), repr(found), found._repr_html_(), repr(study), study._repr_html_()):
        assert text


def _values():
    study = repeated(name="<script>alert(1)</script>" * 9)
    study.tell(study.ask(), failure=Failure(autotune.Cause.OUT_OF_MEMORY, "<i>x</i>\n" * 90, "log\n" * 90))
    many = {f"metric_{i}": Estimate(float(i), 0.1, 3) for i in range(60)}
    wide = autotune.Space([autotune.Categorical(f"p{i}" * 9, ("a" * 90, "b" * 90)) for i in range(9)])
    return {
        "study": study,
        "space": SPACE,
        "wide space": wide,
        "parameter": SPACE["bits"],
        "wide parameter": wide.parameters[0],
        "objective": study.objective,
        "trial": study.trials[1],
        "failed trial": study.trials[-1],
        "result": study.result,
        "estimate": study.trials[1].metrics["throughput"],
        "measurement": Measurement(many, facts={"log": "x" * 999}),
        "failure": study.trials[-1].failure,
    }


def test_every_public_value_has_a_repr_of_one_short_line():
    for name, value in _values().items():
        text = repr(value)
        assert "\n" not in text, name
        assert len(text) < 200, (name, text)
        assert " object at 0x" not in text, name


def test_a_notebook_shows_tables_with_escaped_texts():
    values = _values()
    for name in ("study", "space", "parameter", "objective", "trial", "failed trial", "result"):
        data, _ = DisplayFormatter().format(values[name])
        page = data["text/html"]
        assert page.startswith("<table"), name
        assert "<script" not in page, name
        assert "<i>" not in page, name
        assert "<u>bits" not in page, name
        assert data["text/plain"], name
    assert "&lt;script&gt;" in values["study"]._repr_html_()
    assert "not recommended" not in values["result"]._repr_html_()
    assert "chance that the limit holds" in values["result"]._repr_html_()


def test_nothing_is_decided_while_the_study_runs(tmp_path, capsys):
    with repeated(tmp_path / "ledger.sqlite") as study, study_lock(study.path, study.name):
        study.ledger.set_study_state(study.name, "RUNNING")
        found = study.result
        assert found.verdict == Verdict("undecided", "nothing is decided while the study runs")
        assert (found.settle, found.chances, found.improvement.low) == ("", {}, None)
        data = found.to_dict()
        words = found.verdict.text
        assert data["verdict"] == {"kind": "undecided", "text": words, "limits": [], "settle": None}
        assert "undecided" in repr(found)
        for text in (str(found), found._repr_html_()):
            assert found.verdict.text in text
            assert "times better" not in text
        assert main(["best", "study", "--store", str(tmp_path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["verdict"] == data["verdict"]


def test_a_flag_that_the_stored_system_has_no_more_leaves_everything_else_told(tmp_path, capsys):
    path = tmp_path / "ledger.sqlite"
    spec = {"system": {"use": "vllm", "model": "m"}}
    with autotune.Study(
        [autotune.Int("gone", 1, 2)], {"maximize": "y"}, engine="random", name="s", path=path, spec=spec
    ) as study:
        study.tell(study.ask(), {"y": 1.0})
    assert main(["best", "s", "--store", str(tmp_path)]) == 0
    assert "deploy: not known here: 'gone' is no flag of vllm" in capsys.readouterr().out
    assert main(["report", "s", "--store", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["export", "s", "--as", "args", "--store", str(tmp_path)]) == 2
    assert "'gone' is no flag of vllm" in capsys.readouterr().err
