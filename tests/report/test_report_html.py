"""The report as one HTML file: complete, self-contained, and safe whatever a study says."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import autotune
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason
from autotune.report import document
from autotune.report.document import verdict_sentences
from autotune.report.html import render_report, write_report
from autotune.report.markdown import markdown_report
from autotune.report.sections import _Maker, harmless, script_json

SECTIONS = [
    "comparison", "limits", "deploy", "progress", "pareto", "importance", "effects", "failures",
    "prediction", "noise", "latency", "phases", "cost", "trials", "conditions",
]  # fmt: skip
EVIL = "</script><script>alert(1)</script><img src=http://evil.test/x onerror=alert(2)>"


class Page(HTMLParser):
    """The elements of a page, as a browser would see them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self._inside, self.scripts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)
            self.scripts.append([dict(attrs), ""])

    def handle_endtag(self, tag):
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1][1] += data
        else:
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def page_of(view, **options):
    return Page(render_report(view, seconds=0.0, **options))  # without figures: they take their time


@pytest.fixture(scope="module")
def whole():
    """The report of the small study with all its figures."""
    from tests_views import TRIALS, make_view

    return Page(render_report(make_view(TRIALS[:8], state="completed", running=(), confirm=1)))


def test_every_section_is_there_with_a_heading_and_in_the_contents(whole):
    assert [a["id"] for a in whole.all("section")] == SECTIONS
    assert [a["href"] for a in whole.all("a") if a["href"].startswith("#") and a["href"] != "#main"] == [
        f"#{name}" for name in SECTIONS
    ]
    assert sum(tag == "h2" for tag, _ in whole.elements) == len(SECTIONS)


def test_nothing_is_loaded_from_anywhere(whole):
    for tag, attrs in whole.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "background"):
            assert not re.match(r"(https?:)?//", attrs.get(name) or ""), (tag, attrs)
    assert not [a for a in whole.all("script") if "src" in a]
    assert whole.all("link") == []
    css = next(text for attrs, text in whole.scripts if not attrs and ":root" in text)
    assert "url(" not in css
    assert "@import" not in css


def test_the_policy_of_the_page_runs_its_own_scripts_only(whole):
    policy = next(a["content"] for a in whole.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    scripts = re.search(r"script-src ([^;]*)", policy)[1]
    assert re.fullmatch(r"'sha256-[\w+/=]+' 'sha256-[\w+/=]+'", scripts)
    assert "connect-src" not in policy  # default-src holds


def test_the_first_two_sentences_are_the_verdict(whole):
    assert "Trial 4 (batch_size=16" in whole.words
    assert "It keeps tpot.p95 <= 60 ms with a chance of" in whole.words


def test_figures_are_data_that_a_script_draws(whole):
    boxes = {a["id"] for a in whole.all("div") if a.get("class") == "plot"}
    assert {name.split("-", 2)[2] for name in boxes} >= {"comparison", "progress", "pareto_front", "phases"}
    assert {f"data-{name}" for name in boxes} == {
        a["id"] for a in whole.all("script") if a.get("type") == "application/json"
    }
    assert all(a["aria-label"] for a in whole.all("div") if a.get("class") == "plot")


def test_untrusted_text_becomes_no_markup(make_view, make_trial):
    failed = make_trial(1, (1, 8, 0, 1, 1), cause="crashed_under_load")
    failure = Failure(Cause.CRASHED_UNDER_LOAD, EVIL, f"{EVIL}\n\x1b[31mred\u202e")
    facts = {"argv": ["serve", EVIL], "system": {"versions": {EVIL: EVIL}}, "hardware": {"cpu": EVIL}}
    failed = replace(failed, measurement=replace(failed.measurement, failure=failure, facts=facts))
    view = make_view((failed,), name=EVIL, state="completed", running=(), tracking=EVIL, deploy=(EVIL,))
    page = Page(render_report(view))
    assert [a.get("type") for a in page.all("script")].count(None) == 2
    assert page.all("img") == []
    assert page.words.count("<script>alert(1)</script>") >= 5
    assert "\x1b" not in "".join(page.text)
    assert "\u202e" not in "".join(page.text)
    prose, code, _ = markdown_report(view).split("~~~~~~~~~~")  # in a block of code all is as it is
    assert "<img" not in prose.replace("\\<img", "")
    assert EVIL in code


@pytest.mark.parametrize("text", ["</script>", "<!--", "<script", "\u2028", "&lt;", "]]>"])
def test_json_cannot_leave_its_script(text):
    import json

    written = script_json({"a": [text]})
    assert not re.search("[<>&\u2028\u2029]", written)
    assert json.loads(written) == {"a": [text]}


def test_figures_have_no_links_of_strangers():
    found = harmless({"x": ["<a href='https://evil.test'>go</a>", "a<br>b", "<B onclick=x>"], "n": [1, 2.5]})
    shown = ["&lt;a href='https://evil.test'>go&lt;/a>", "a<br>b", "&lt;B onclick=x>"]
    assert found == {"x": shown, "n": [1, 2.5]}


def test_secrets_are_masked(make_view, make_trial, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "hunter2hunter2&<x>")
    one = make_trial(0, (1, 8, 0, 1, 1), speed=10.0, tpot=0.01)
    facts = {"argv": ["serve", "--api-key", "qwertzuiopas", "hunter2hunter2&<x>"]}
    one = replace(one, measurement=replace(one.measurement, facts=facts))
    view = make_view((one,), state="completed", running=(), name="hunter2hunter2&<x>")
    for text in (render_report(view, seconds=0.0), markdown_report(view)):
        assert "hunter2" not in text
        assert "qwertzuiopas" not in text
        assert "redacted" in text


def test_a_study_without_trials(make_view):
    page = page_of(make_view((), state="created", running=()))
    assert "Nothing was measured yet." in page.words
    assert [a["id"] for a in page.all("section")] == SECTIONS


def test_a_study_of_failures_only(make_view, make_trial):
    trials = [make_trial(i, (1, 8, i, 1, 1), cause="out_of_memory") for i in range(3)]
    page = Page(render_report(make_view(trials, state="completed", running=())))
    assert "No trial gave a measurement." in page.words
    assert "out of memory 3 what the log said 0, 1, 2" in page.words
    assert "could not be made" not in page.words
    objective = Objective.from_dict({"maximize": "throughput"})
    text = markdown_report(make_view(trials, state="completed", running=(), objective=objective))
    assert "> Every one of 3 trials failed: out of memory (what the log said)." in text
    assert "## Failures" in text
    assert "| out of memory | 3 | what the log said | 0, 1, 2 |" in text


def test_a_running_study_decides_nothing(make_view):
    assert "Nothing is decided while the study runs" in page_of(make_view()).words


def test_a_page_of_several_goals_compares_each_with_the_default(make_view, trials):
    objective = Objective.from_dict({"maximize": "output_throughput", "minimize": "tpot.p95"})
    view = make_view(trials[:8], objective=objective, state="completed", running=())
    page = Page(render_report(view))
    assert "could not be made" not in page.words
    assert "tpot.p95: better by" in page.words or "worse by" in page.words
    assert "The objective has no limits." in page.words


def test_a_page_draws_values_at_the_ends_of_all_numbers(make_view, make_trial):
    values = [(1e-300, 1e-9), (1e149, 1e149), (5.0, 0.0)]
    trials = [make_trial(i, (1, 8, i, 1, 1), speed=s, tpot=t) for i, (s, t) in enumerate(values)]
    odd = Measurement({"output_throughput": Estimate(-3.0, None, 1, "tokens/s")}, started_ns=5, ended_ns=5)
    trials.append(replace(trials[0], number=3, measurement=odd))
    page = Page(render_report(make_view(trials, state="completed", running=())))
    assert "could not be made" not in page.words
    assert "NaN" not in "".join(text for attrs, text in page.scripts if attrs.get("type"))


@pytest.mark.usefixtures("with_report")
def test_a_function_s_study_says_no_command(tmp_path):
    space = autotune.Space([autotune.Int("x", 0, 5)])
    study = autotune.tune(
        space, lambda config: float(config["x"]), {"maximize": "y"}, trials=4, engine="random",
        path=tmp_path / "l.sqlite",
    )  # fmt: skip
    with study:
        page = Page((tmp_path / "study-report.html").read_text())
        assert "a function of the caller's" in page.words
        assert "command" not in [*page.text]


def test_the_log_command_and_run_of_each_trial(make_view, make_trial, tmp_path):
    log = tmp_path / "server.log"
    log.write_text("first\n" * 100 + "ready to serve\n")
    one, two = (make_trial(i, (1, 8, i, 1, 1), speed=10.0, tpot=0.01) for i in range(2))
    measured = replace(
        one.measurement, facts={"argv": ["serve", "--x y"]}, artifacts={"server.log": str(log)}
    )
    view = make_view(
        (replace(one, measurement=measured), two), state="completed", running=(), tracking="sqlite:///m.db",
        run_urls={0: "http://127.0.0.1:5000/#/runs/1", 1: "javascript:alert(1)"},
    )  # fmt: skip
    page = page_of(view)
    assert "serve '--x y'" in page.words
    assert "ready to serve" in page.words
    assert [a["href"] for a in page.all("a") if not a["href"].startswith("#")] == [
        "http://127.0.0.1:5000/#/runs/1"
    ]
    assert "in MLflow: run trial-0001; `autotune ui quickstart` opens it" in page.words


def test_a_figure_that_fails_costs_only_itself(make_view, monkeypatch):
    import autotune.plot.cost_figure

    def broken(view):
        raise MemoryError("no room <b>here</b>")

    monkeypatch.setattr(autotune.plot.cost_figure, "cost", broken)
    page = Page(render_report(make_view(state="completed", running=())))
    assert page.words.count("this figure could not be made: MemoryError: no room <b>here</b>") == 1


def test_what_there_is_no_time_for_is_said(make_view):
    page = page_of(make_view(state="completed", running=()))
    assert "left out to end in time; autotune report quickstart makes it" in page.words
    assert "Importance: output_throughput" in page.words
    elsewhere = page_of(make_view(state="completed", running=(), ledger="elsewhere/autotune.db"))
    assert "; autotune report quickstart --store elsewhere/autotune.db makes it" in elsewhere.words
    assert page.all("code")


def test_parameters_that_do_not_act_together_are_shown_as_no_pair():
    space = autotune.Space([autotune.Int(name, 0, 7) for name in "ab"])
    words = {}
    for name, loss in {"apart": lambda a, b: 1.5 ** (a + b), "together": lambda a, b: 1 + a * b}.items():
        study = autotune.Study(space, {"minimize": "loss"}, engine="random", seed=0)
        for a, b in [(a, b) for a in range(0, 8, 2) for b in range(0, 8, 2)]:
            study.add({"a": a, "b": b}, {"loss": float(loss(a, b))})
        words[name] = [figure.nothing for figure in _Maker(study.view, math.inf).pairs()]
    assert words["together"] == [""]
    assert words["apart"] == [
        "no two parameters are seen to act together, beyond what the model is unsure of"
    ]


def test_the_verdict_names_the_values_that_matter_most():
    names = [f"p{i:02}" for i in range(24)]
    space = autotune.Space([autotune.Int(name, 0, 7) for name in names])
    study = autotune.Study(space, {"maximize": "speed"}, engine="random", seed=0)
    for config in space.sample(40, np.random.default_rng(0)):
        study.add(config, {"speed": 1.0 + 10.0 * config["p20"]})
    first, _ = verdict_sentences(study.view)
    assert re.match(r"Trial \d+ \(p20=7 (p\d\d=\d ){5}and 18 more\) gives", first)


def test_a_report_is_written_whole_or_not_at_all(make_view, tmp_path, monkeypatch):
    view = make_view(state="completed", running=())
    path = tmp_path / "new" / "report.html"
    assert write_report(view, path, seconds=0.0) == path
    before = path.read_bytes()

    def torn(self, data):
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", torn)
    with pytest.raises(OSError, match="No space"):
        write_report(view, path, seconds=0.0)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_markdown_has_verdict_comparison_limits_failures_and_trials(make_view, trials):
    text = markdown_report(make_view(trials[:8], state="completed", running=(), confirm=1))
    assert re.findall(r"^#+ (.*)$", text, re.MULTILINE) == [
        "quickstart", "Winner against default", "Limits", "Failures", "Trials", "Versions and hardware",
    ]  # fmt: skip
    assert "> Trial 4 (" in text
    assert "| 4 | ok | 402.3" in text
    confirmed = [t.number for t in trials if t.suggestion.reason is Reason.CONFIRM]
    assert confirmed == [6, 7]


def test_a_figure_with_more_upright_axes_than_a_phone_has_room_for_scrolls(make_view, trials):
    from autotune import plot
    from autotune.report.sections import _wide
    from tests_views import wide_view

    for view, scrolls in ((wide_view(), True), (make_view(trials[:8]), False)):
        figure = json.loads(plot.parallel_coordinates(view).to_json())
        assert _wide(figure["layout"]) is scrolls


def test_a_workload_reads_as_a_sentence():
    assert document._plain({"mean": 64.0, "spread": 0.0}) == "64"
    assert document._plain({"mean": 64.0, "spread": 8.5}) == "64 ± 8.5"
    assert document._plain({"values": list(range(99))}).endswith("10 11 and 87 more")
