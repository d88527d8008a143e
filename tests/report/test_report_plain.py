"""Lines for pipes and objects for machines."""

import contextlib
import html
import io
import json
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from autotune.core.measurement import Estimate
from autotune.core.objective import Objective
from autotune.core.trial import TrialState
from autotune.report.html import render_report
from autotune.report.live import LiveView, render
from autotune.report.markdown import markdown_report
from autotune.report.notebook import study_html
from autotune.report.plain import JsonView, Output, PlainView, QuietView
from autotune.report.summary import JSON_KEYS, summary, summary_json
from autotune.report.view import Kind
from autotune.spec.stored import StoredSpec

GOLDEN = Path(__file__).parent / "golden"


def play(view, make_view, trials):
    """Show a study that starts empty, trial after trial, as the loop does."""
    view.message("making the model")
    view.start(make_view((), running=()))
    for i, trial in enumerate(trials):
        started = replace(trial, state=TrialState.RUNNING, measurement=None)
        for last in (started, started, trial):
            view.update(make_view((*trials[:i], last)))
        if trial.failure is not None:
            view.message(f"trial {trial.number}: {trial.failure.cause.value}: {trial.failure.message}")
    view.finish(make_view(trials, state="completed"), "the end")


def test_plain_output_reads_as_agreed(make_view, trials):
    stream = io.StringIO()
    play(PlainView(stream), make_view, trials[:4])
    assert stream.getvalue() == (GOLDEN / "plain.txt").read_text("utf-8")


def test_plain_lines_of_a_resumed_study_tell_only_what_is_new(make_view, trials):
    stream = io.StringIO()
    view = PlainView(stream)
    view.start(make_view(trials[:4], running=(), resumed=True))
    view.update(make_view(trials[:5], running=()))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "study quickstart: running, 4 trials, 3 measured in 46 s, budget 12 trials, going on"
    assert [line.split()[:3] for line in lines[2:]] == [["trial", "4", "measured:"]]


AWAITED = {"maximize": "speed", "limits": ["memory <= 0.9 x default", "delay <= 10 ms"]}


def live_text(view):
    console = Console(width=120, file=io.StringIO())
    console.print(render(view, 120, 40))
    return console.file.getvalue()


def started_text(view, make=PlainView):
    stream = io.StringIO()
    make(stream).start(view)
    return stream.getvalue()


@pytest.mark.parametrize(
    "tell",
    [
        started_text,
        partial(started_text, make=JsonView),
        live_text,
        summary,
        lambda view: json.dumps(summary_json(view)),
        markdown_report,
        render_report,
        study_html,
    ],
    ids=["plain", "json lines", "live", "summary", "json", "markdown", "html", "notebook"],
)
def test_limits_relative_to_a_default_that_is_not_measured_are_told(make_view, tell):
    anchored = Objective.from_dict(AWAITED).anchored({})
    told = tell(make_view((), running=(), objective=anchored, spec=StoredSpec({"objective": AWAITED})))
    plain = re.sub(r"[\\\s]+", " ", html.unescape(told))
    assert "memory <= 0.9 x default" in plain
    assert plain.index("memory <= 0.9 x default") < plain.index("delay <= 10 ms")


def test_a_second_attempt_is_told(make_view, trials):
    stream = io.StringIO()
    view = PlainView(stream)
    view.start(make_view((), running=()))
    view.update(make_view((replace(trials[8], attempts=2),)))
    assert "trial 8 started (attempt 2): " in stream.getvalue()


def test_json_output_has_an_event_per_line(make_view, trials):
    stream = io.StringIO()
    play(JsonView(stream), make_view, trials)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert events[0] == {"event": "message", "text": "making the model", "kind": "news"}
    assert events[1]["event"] == "start"
    assert [e["state"] for e in events if e["event"] == "trial" and e["number"] == 3] == [
        "RUNNING",
        "INFEASIBLE",
    ]
    assert list(events[-1]) == ["event", *JSON_KEYS]
    assert events[-1]["event"] == "finish"


def test_quiet_shows_the_end_only(make_view, trials):
    stream = io.StringIO()
    play(QuietView(stream), make_view, trials)
    assert stream.getvalue() == "the end\n"


def test_a_reader_that_went_away_does_not_matter(make_view, trials):
    for kind in (PlainView, JsonView, QuietView):
        reader, writer = os.pipe()
        stream = os.fdopen(writer, "w")
        os.close(reader)
        play(kind(stream), make_view, trials)
        with contextlib.suppress(BrokenPipeError):  # what was buffered when the reader went away
            stream.close()


def test_a_closed_stream_does_not_matter(make_view, trials):
    stream = io.StringIO()
    stream.close()
    play(PlainView(stream), make_view, trials)


def test_a_stream_that_knows_ascii_only():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Output(stream).line("812 ± 6 and \N{SNOWMAN}")
    assert raw.getvalue() == b"812 +- 6 and ?\n"


def test_a_quiet_view_tells_what_was_lost_beside_its_output_whatever_its_words(capsys):
    view = QuietView()
    view.message("trial 1: crashed: 3 requests not delivered")
    view.message("warning: 3 requests not delivered")
    view.message("nobody heard of the end", Kind.LOSS)
    assert capsys.readouterr() == ("", "nobody heard of the end\n")


@pytest.mark.parametrize("kind", Kind)
def test_every_view_that_tells_what_happens_tells_what_was_lost(kind):
    for make in (PlainView, JsonView, LiveView):
        stream = io.StringIO()
        make(stream).message("text of a message", kind)
        assert "text of a message" in stream.getvalue()
        assert kind in stream.getvalue() or make is not JsonView


def test_why_there_is_no_best_so_far_is_told_once_and_again_when_it_changes(make_view, make_trial):
    """The default, to which the limit is relative, has failed; then it is measured, and nothing keeps it."""
    unknown = Objective.from_dict({"maximize": "output_throughput", "limits": ["tpot.p95 <= 0.5 x default"]})
    stream = io.StringIO()
    view = PlainView(stream)
    trials = [make_trial(0, (1, 16, 0, 1, 1), cause="out_of_memory")]
    view.start(make_view(trials, running=()))
    for i in range(1, 5):
        trials.append(make_trial(i, (2**i, 16, 0, 1, 1), speed=50.0 + i, tpot=0.02 + 0.001 * i))
        view.update(make_view(trials, running=(), objective=unknown.anchored({})))
    for i in range(5, 8):
        trials.append(make_trial(i, (2 ** (i - 4), 8, 0, 1, 1), speed=50.0 + i, tpot=0.02 + 0.001 * i))
        bounds = {"tpot.p95": Estimate(0.02 if i < 7 else 0.01, None, 1, "s")}
        view.update(make_view(trials, running=(), objective=unknown.anchored(bounds)))
    lines = stream.getvalue().splitlines()[2:]
    assert len(lines) == 7
    assert ["cannot be judged" in line for line in lines] == [True] + [False] * 6
    assert [bool(re.search("no configuration keeps", line)) for line in lines[4:]] == [True, False, True]
