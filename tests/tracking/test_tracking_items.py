"""What a trial and a study look like in a tracking store."""

import json
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.core.decision import Decision
from autotune.core.estimate_text import show_estimate
from autotune.core.failures import failure_lines
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.ranking import Contender
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.ledger import StudyRow
from autotune.tracking.items import plain_note, study_item, trial_item
from autotune.tracking.mlflow_items import items_of
from autotune.tracking.names import allowed_name, allowed_names

OBJECTIVE = Objective.from_dict({"maximize": "speed"})


def row(**notes):
    spec = {"space": {"parameters": {"x": {}}}}
    return StudyRow("chat", "u1", spec, "f", 0, "gp/3", "COMPLETED", notes, 1_000_000)


def trial(predicted):
    suggestion = Suggestion({"x": 1}, Reason.EXPLORE, "gp/3", {"speed": Estimate(predicted, 2.0)})
    measured = Measurement({"speed": Estimate(100.0, 1.0)})
    return Trial(4, suggestion, TrialState.COMPLETED, 1, measured)


def test_a_surprise_is_measured_and_a_tag_when_it_is_noteworthy():
    usual, odd = (trial_item(trial(value), row(), OBJECTIVE) for value in (99.0, 50.0))
    assert 0 < json.loads(usual.texts["measurement.json"])["speed"]["surprise"] < 1
    assert "autotune.surprise" not in usual.tags
    assert json.loads(odd.texts["measurement.json"])["speed"]["surprise"] > 15
    assert odd.tags["autotune.surprise"] == "surprise +17.3 sd of speed"


def test_why_a_search_ended_early_is_a_tag_of_the_study():
    stopped = {"reason": "converged: at most 1 % is left (90 %)", "budget": 40, "least": 0, "of": []}
    item = study_item(row(stopped=stopped), 12, None, OBJECTIVE, "0.1.0")
    assert item.tags["autotune.stopped"] == "converged: at most 1 % is left (90 %)"
    assert "Stopped before its budget: converged" in item.tags["mlflow.note.content"]
    on = study_item(row(stopped={**stopped, "reason": ""}), 12, None, OBJECTIVE, "0.1.0")
    assert on.tags["autotune.stopped"] == ""  # it went on, and must not keep the tag
    assert "Stopped" not in on.tags["mlflow.note.content"]


def test_the_owner_of_a_submitted_study_is_its_user_in_mlflow():
    item = study_item(row(owner="alice"), 12, None, OBJECTIVE, "0.1.0")
    assert {item.tags[tag] for tag in ("mlflow.user", "autotune.owner")} == {"alice"}
    assert trial_item(trial(99.0), row(owner="alice"), OBJECTIVE).tags["mlflow.user"] == "alice"
    assert "mlflow.user" not in study_item(row(), 12, None, OBJECTIVE, "0.1.0").tags


def test_every_name_becomes_one_that_mlflow_takes_and_no_two_become_one():
    from mlflow.utils.validation import _validate_metric_name

    rng = random.Random(5)
    letters = "ab./%-_ é\x1b:\n"
    names = ["", ".", "..", "../x", "/", "//", "a/", "a/../b", "é" * 300, "x" * 250, "x" * 251]
    names += ["".join(rng.choice(letters) for _ in range(rng.randrange(1, 8))) for _ in range(2000)]
    found = allowed_names(names)
    assert len(set(found.values())) == len(found) == len(set(names))
    for name, allowed in found.items():
        _validate_metric_name(allowed, "name")
        assert allowed_name(allowed) == allowed
        assert allowed == name or allowed_name(name) != name


def test_values_that_differ_are_told_apart():
    def params(value):
        suggestion = Suggestion({"x": value}, Reason.EXPLORE)
        return trial_item(Trial(4, suggestion, TrialState.RUNNING, 1), row(), OBJECTIVE).params

    values = [
        1,
        True,
        "1",
        "true",
        1.5,
        "1.5",
        "one",
        "",
        "x" * 7000 + "a",
        "x" * 7000 + "b",
        "x" * 6999 + "yb",
    ]
    assert len({params(value)["x"] for value in values}) == len(values)
    assert params("one") == {"x": "one"}
    assert params("1") == {"x": '"1"'}
    long = params("x" * 7000 + "a")["x"]
    assert len(long) <= 5000
    assert "... 7001 characters, digest " in long


HOSTILE = [
    "<script>alert(1)</script>",
    "![](http://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "`code` ``` and ~~~ and ````",
    "```\n![](http://evil.example/a.png)\n```",
    "\r\n```\r\n<img src=http://evil.example/b.png onerror=alert(1)>",
    "</code></pre><img src=http://evil.example/c.png>",
    "<pre><code>x</code></pre>\n<iframe src=http://evil.example></iframe>",
    ":octocat: @somebody www.evil.example http://evil.example mailto:a@evil.example",
    "| a | b |\n|---|---|\n| ![](http://evil.example/d.png) | x |",
    "\u2028```\u2028![](http://evil.example/e.png)",
    "\x0b```\x0c![](http://evil.example/f.png)\x85```",
    "[a]: http://evil.example\n![a]",
    "\x1b[2J\u202edetrevni",
    "¨D ~D $1 &lt;b&gt; &#60;b&#62;",
    "# heading\n===\n> quote\n- list\n1. list\n    code",
    "x" * 20_000,
]


def failed(number, cause, message):
    measured = Measurement(failure=Failure(cause, message))
    return Trial(number, Suggestion({"x": 1}, Reason.EXPLORE), TrialState.INFEASIBLE, 1, measured)


def hostile_note():
    """Return the note of a study in which every text is hostile."""
    trials = [failed(i, Cause.OUT_OF_MEMORY, text) for i, text in enumerate(HOSTILE[:8])]
    trials += [failed(i, Cause.CRASHED_UNDER_LOAD, text) for i, text in enumerate(HOSTILE[8:], 8)]
    config = {f"p{i} {text}"[:300]: text[:300] for i, text in enumerate(HOSTILE)}
    suggestion = Suggestion(config, Reason.EXPLORE, "gp/3")
    best = Trial(99, suggestion, TrialState.COMPLETED, 1, Measurement({"speed": Estimate(1.0)}))
    stopped = {"reason": "; ".join(HOSTILE)}
    metrics = {"speed": Estimate(1.0, unit="![](http://evil.example/u.png)")}
    item = study_item(
        row(stopped=stopped),
        12,
        Contender((best,), metrics, OBJECTIVE.score(metrics), 1, True),
        OBJECTIVE,
        "0",
        failure_lines(trials),
    )
    return item.tags["mlflow.note.content"]


def test_a_note_is_one_block_of_code_that_no_text_leaves():
    note = hostile_note()
    assert len(note) <= 5000
    first, *lines, last = note.split("\n")
    assert (first, last) == ("```text", "```")
    assert lines == note.splitlines()[1:-1], "no other end of a line"
    assert not any(re.match(r"\s*(```|~~~|<)", line) for line in lines)
    assert "\x1b" not in note
    assert "\u202e" not in note
    assert plain_note([*HOSTILE]).count("\n") <= len(HOSTILE) + 1


_RENDER = """
const fs = require("fs");
globalThis.self = globalThis;  // of which MLflow 3.0 speaks
globalThis.webpackChunk_mlflow_mlflow = [];
require(process.argv[1]);
const modules = Object.assign({}, ...globalThis.webpackChunk_mlflow_mlflow.map(chunk => chunk[1]));
const found = Object.values(modules).find(code => code.toString().includes("githubCodeBlocks"));
const module_ = {exports: {}};
found.call(module_.exports, module_, module_.exports, () => ({}));
const converter = new module_.exports.Converter();
converter.setFlavor("github");
console.log(JSON.stringify(JSON.parse(fs.readFileSync(0, "utf8")).map(text => converter.makeHtml(text))));
"""


def test_mlflows_own_page_shows_a_note_as_it_is_and_loads_nothing():
    """What MLflow's UI makes of Markdown, by the code that its server sends to browsers."""
    import mlflow

    scripts = (Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js").glob("*.js")
    renderer = next((path for path in scripts if "githubCodeBlocks" in path.read_text("utf-8")), None)
    node = shutil.which("node")
    if node is None or renderer is None:
        pytest.skip("without node, or an MLflow that renders notes otherwise")
    notes = [hostile_note(), *(plain_note(["start", text, f"  {text}", "end"]) for text in HOSTILE)]
    argv = [node, "-e", _RENDER, str(renderer)]
    asked = json.dumps([HOSTILE[1], *notes])
    done = subprocess.run(argv, input=asked, capture_output=True, text=True, timeout=240, check=True)
    bare, *pages = json.loads(done.stdout)
    assert 'src="http://evil.example/pixel.png"' in bare, "the renderer is the one that loads images"
    for page in pages:
        assert re.findall(r"</?([a-zA-Z]+)", page) == ["pre", "code", "code", "pre"]


def test_a_study_shows_its_failures_in_its_note():
    trials = [
        failed(0, Cause.OUT_OF_MEMORY, "17 GiB do not fit\nin 16 GiB"),
        failed(1, Cause.OUT_OF_MEMORY, "17 GiB do not fit\nin 16 GiB"),
        failed(2, Cause.OUT_OF_MEMORY, "CUDA out of memory token=abcdefgh12345678"),
        failed(3, Cause.REJECTED_FLAGS, "--no-such-flag"),
    ]
    item = study_item(row(), 4, None, OBJECTIVE, "0.1.0", failure_lines(trials))
    assert item.tags["mlflow.note.content"].splitlines() == [
        "```text",
        "maximize speed",
        "4 trials finished, completed.",
        "failed: 3 out of memory, 1 rejected flags",
        "  2 x out of memory: 17 GiB do not fit in 16 GiB",
        "  1 x out of memory: CUDA out of memory token=[redacted]",
        "  1 x rejected flags: --no-such-flag",
        "```",
    ]


def test_tags_and_params_hold_no_control_characters_and_fit():
    suggestion = Suggestion({"x": "\x1b[31mred", "y": "a\u202eb"}, Reason.EXPLORE)
    failure = Measurement(failure=Failure(Cause.OUT_OF_MEMORY, "\x1b[2J" + "long " * 4000))
    item = trial_item(Trial(4, suggestion, TrialState.INFEASIBLE, 1, failure), row(), OBJECTIVE)
    assert item.params == {"x": '"\\u001b[31mred"', "y": '"a\\u202eb"'}
    assert 2000 < len(item.tags["autotune.failure_message"]) <= 5000
    assert item.tags["autotune.failure_message"].startswith("long long")


def test_the_note_of_a_study_has_the_interval_that_its_reports_have():
    space = {"parameters": {"x": {"type": "int", "low": 0, "high": 3}}}
    trials = [
        Trial(i, Suggestion({"x": x}, why, "gp/3"), TrialState.COMPLETED, 1, Measurement({"speed": measured}))
        for i, (x, why, measured) in enumerate(
            [
                (0, Reason.DEFAULT, Estimate(2e6, 1e4, 30, "B/s")),
                (1, Reason.EXPLORE, Estimate(3.9e6, 1e4, 30, "B/s")),
                (1, Reason.EXPLORE, Estimate(4.1e6, 1e4, 30, "B/s")),
            ]
        )
    ]
    found = row(predictions={"of": [3, OBJECTIVE.fingerprint], "found": None})
    stored = replace(found, spec={"space": space, "objective": OBJECTIVE.to_dict()})
    decision = Decision(trials, OBJECTIVE, config_key({"x": 0}))
    best = decision.recommended.contender
    wanted = show_estimate(best.metrics["speed"], decision.half_width(best, "speed"))
    assert wanted != show_estimate(best.metrics["speed"])
    *_, study = items_of(stored, trials, OBJECTIVE)
    note = study.tags["mlflow.note.content"]
    assert f"  speed = {wanted}\n" in note
    assert note.count("95 % interval") == 2
    assert "e+0" not in note
