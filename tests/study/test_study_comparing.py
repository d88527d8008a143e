"""Studies side by side, of one store and of others."""

import itertools
import json
import math
import shutil
from dataclasses import replace

import pytest

from autotune import Int, Space, Study
from autotune.analysis.noise import noise
from autotune.analysis.side_by_side import _predictions
from autotune.cli import main
from autotune.core.objective import Objective
from autotune.core.trial import Reason
from autotune.errors import LedgerError, StudyError
from autotune.ledger import Ledger
from autotune.study.comparing import compare_studies
from autotune.study.reading import read_view
from tests_exports import CASES, GPUS, UNITS, record_study, record_trial

LIMITS = {"maximize": "output_throughput", "limits": ["ttft.p99 <= 100 ms"]}


@pytest.fixture
def stores(tmp_path):
    """Two stores: the second study has another engine, GPU, load and limit, and a point under a tight one."""
    (tmp_path / "other").mkdir()
    section, best, version, hardware = CASES["vllm"]
    record_study(tmp_path, section, best, version, hardware, name="a").close()
    newer = {**GPUS, "gpus": [{"name": "NVIDIA H200", "driver": "580.1"}]}
    with record_study(
        tmp_path / "other", section, best, "0.12.0", newer, name="b", workload={"concurrency": 16},
        objective=LIMITS,
    ) as study:  # fmt: skip
        tight = {**best, "max_num_seqs": 1}
        for _ in range(2):
            record_trial(
                study, tight, Reason.EXPLORE, {"output_throughput": 80.0, "ttft.p99": 0.05}, "0.12.0", newer
            )
    return tmp_path


def test_the_limits_of_the_first_judge_all_and_differences_are_named(stores):
    first, second = compare_studies(["a", f"{stores}/other:b"], stores).studies
    assert first.best.contender.trial.number == second.best.contender.trial.number == 1
    change = next(c for c in second.changes if c.metric == "output_throughput")
    assert change.gain.low < 1 < change.gain.high
    said = "\n".join(second.differs)
    for text in (
        "objective: maximize output_throughput with ttft.p99 <= 500 ms -> maximize output_throughput with",
        "workload.concurrency: 8 -> 16", "vllm: 0.11.0 -> 0.12.0", "GPU driver: 570.86.15 -> 580.1",
        "GPUs: 2 x NVIDIA H200 -> 1 x NVIDIA H200",
    ):  # fmt: skip
        assert text in said
    turned = compare_studies([f"{stores}/other:b", "a"], stores).studies
    assert turned[0].best.contender.config["max_num_seqs"] == 1  # under the 100 ms of the first
    assert turned[1].best is None  # nothing of the other keeps them


def test_the_text_fits_a_terminal_and_json_says_the_same(stores, capsys):
    argv = ["compare", "a", f"{stores}/other", "--store", str(stores)]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "best under the limits of a: maximize output_throughput with ttft.p99 <= 500 ms" in text
    names = {line.strip().partition(" ")[0] for line in text.splitlines()}
    assert "output_throughput" in names
    assert "output_throughpu" not in names
    assert "1 trials" not in text
    assert main([*argv, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [one["best"]["number"] for one in data["studies"]] == [1, 1]
    assert data["studies"][1]["differs"]


def test_no_number_of_studies_is_wider_than_the_terminal(stores, capsys, monkeypatch):
    """Names are the same, paths are long, and each study stands beside the first once."""
    places = [stores / f"nightly_runs_of_the_cluster/of_day_{i}" for i in range(9)]
    for place, source in zip(places, itertools.cycle([stores, stores / "other"]), strict=False):
        place.mkdir(parents=True)
        shutil.copy(source / "ledger.sqlite", place)
    every = [f"{place}/ledger.sqlite:{'ab'[i % 2]}" for i, place in enumerate(places)]
    for count, width in itertools.product((2, 4, 9), (20, 40, 60, 80, 120)):
        references = every[:count]
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["compare", *references]) == 0
        text = capsys.readouterr().out
        assert max(len(line) for line in text.splitlines()) <= width
        labels = [one.label for one in compare_studies(references, stores).studies]
        assert len(set(labels)) == count
        assert all(len(label) <= len("of_day_0:a") for label in labels)
        whole = "".join(text.split())
        for label, reference in zip(labels, references, strict=True):
            assert f"{label}is{reference}" in whole, "the legend"
        if width < 60:  # where labels are folded
            continue
        heads = [line.split() for line in text.splitlines() if line.startswith(f"{'':22}{labels[0]} ")]
        assert {head[0] for head in heads} == {labels[0]}, "the base of each block"
        assert [label for head in heads for label in head[1:]] == labels[1:]
        assert (len(heads) == 1) is (count <= {60: 2, 80: 3, 120: 5}[width])


def test_a_study_that_is_not_there_is_named(stores, capsys):
    assert main(["compare", "a", "--store", str(stores)]) == 2
    assert "two studies at least" in capsys.readouterr().err
    with pytest.raises(StudyError, match="no study 'c'; the ledger has: a"):
        compare_studies(["a", "c"], stores)
    with pytest.raises(StudyError, match="nowhere:c: no ledger at"):
        compare_studies(["a", f"{stores}/nowhere:c"], stores)


@pytest.mark.parametrize("name", ["x:y", ":", "%0A::error::x", "a:"])
def test_a_name_with_colons_is_found_in_its_store_and_behind_a_path(tmp_path, name):
    for each in ("plain", name):  # a study file refuses such a name, Python takes any
        space = Space([Int("x", 1, 4, default=1)])
        with Study(space, {"maximize": "speed"}, path=tmp_path / "ledger.sqlite", name=each) as study:
            study.tell(study.ask(), {"speed": 1.0})
    for reference in (name, f"{tmp_path}:{name}", f"{tmp_path}/ledger.sqlite:{name}"):
        assert compare_studies(["plain", reference], tmp_path).studies[1].label == name


def test_equal_names_of_two_ledgers_are_told_apart_in_annotations(stores, capsys, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    section, best, version, hardware = CASES["vllm"]
    for folder, speed in (("before", 200.0), ("after", 120.0)):
        store = stores / "jobs" / folder / "autotune-runs"
        store.mkdir(parents=True)
        with record_study(
            store, section, best, version, hardware, launches=0, name="a", speeds=(100.0, speed)
        ) as study:
            for _ in range(3):
                measured = {"output_throughput": speed, "ttft.p99": 0.2}
                record_trial(study, best, Reason.CONFIRM, measured, version)
    pair = [f"{stores}/jobs/{folder}/autotune-runs/ledger.sqlite:a" for folder in ("before", "after")]
    assert main(["compare", *pair, "--ci"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::error")]
    head = "::error title=autotune compare before%3Aa after%3Aa::after:a beside before:a: output_throughput"
    assert line.startswith(head)


def test_a_gate_ends_with_one_where_a_study_is_worse_and_says_where(stores, capsys, monkeypatch):
    summary = stores / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    (stores / "slow").mkdir()
    section, best, version, hardware = CASES["vllm"]
    with record_study(
        stores / "slow", section, best, version, hardware, launches=0, name="c", speeds=(100.0, 122.0)
    ) as study:
        for _ in range(3):
            record_trial(study, best, Reason.CONFIRM, {"output_throughput": 120.0, "ttft.p99": 0.2}, version)
    gate = ["--ci", "--store", str(stores)]
    assert main(["compare", "a", f"{stores}/other", *gate]) == 0
    assert "::notice title=autotune compare a b::no study is worse than a by" in capsys.readouterr().out
    assert summary.read_text().startswith("### autotune compare a b\n\n```text\nbest under")
    assert main(["compare", "a", f"{stores}/slow", *gate]) == 1
    said = capsys.readouterr().out.splitlines()
    (line,) = [line for line in said if line.startswith("::error")]
    assert "c beside a: output_throughput: WORSE: 200.0 ±" in line
    assert "tolerance 5 %25" in line
    assert main(["compare", "a", f"{stores}/slow", "--tolerance", "60%", *gate]) == 0
    assert main(["compare", "a", f"{stores}/slow", "--store", str(stores)]) == 0, "no gate without --ci"
    capsys.readouterr()
    assert main(["compare", f"{stores}/other", "a", *gate]) == 1
    assert "a: nothing keeps the limits of b" in capsys.readouterr().out
    assert main(["compare", "a", f"{stores}/slow", "--json", *gate]) == 1
    labels = [one["label"] for one in json.loads(capsys.readouterr().out)["studies"]]
    assert labels == ["a", f"{stores}/slow"], "as it was asked for"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(stores / "gone" / "summary.md"))
    assert main(["compare", "a", f"{stores}/slow", *gate]) == 3
    assert "No such file" in capsys.readouterr().err


def _rows(text):
    """Return the cells of each row of two studies by its label, the first line of each."""
    lines = [line for line in text.partition("\n\n")[2].splitlines() if line[:4].strip()]
    return {line[:20].strip(): (line[22:50].strip(), line[52:].strip()) for line in reversed(lines)}


def test_a_study_without_the_metric_of_a_limit_of_the_first_is_not_measured(stores, capsys):
    (stores / "bare").mkdir()
    section, best, version, hardware = CASES["vllm"]
    objective = {"maximize": "output_throughput", "limits": ["memory.peak <= 8 GB"]}
    with record_study(
        stores / "bare", section, best, version, hardware, launches=0, name="d", objective=objective
    ) as study:
        for _ in range(2):
            record_trial(study, best, Reason.EXPLORE, {"output_throughput": 80.0, "memory.peak": 7e9})
    pair = [f"{stores}/bare", "a", "--store", str(stores)]
    assert main(["compare", *pair]) == 0
    rows = _rows(capsys.readouterr().out)
    assert rows["memory.peak <= 8 GB"][1] == "not measured"
    assert rows["best"][1] == "memory.peak not measured"
    assert rows["output_throughput"][1] == "", "it was measured"
    assert rows["default"][1] == "101.0 ± 9.1 tokens/s"
    assert main(["compare", *pair, "--ci"]) == 1
    assert "::a: memory.peak not measured" in capsys.readouterr().out
    assert noise(compare_studies(pair[:2], stores).studies[1].view).spread is None


def test_a_study_without_the_goal_of_the_first_is_not_measured(stores, capsys):
    (stores / "bare").mkdir()
    section, best, version, hardware = CASES["vllm"]
    with record_study(
        stores / "bare",
        section,
        best,
        version,
        hardware,
        launches=0,
        name="d",
        objective={"minimize": "price"},
    ) as study:
        for _ in range(2):
            record_trial(study, best, Reason.EXPLORE, {"price": 3.0})
    assert main(["compare", f"{stores}/bare", "a", "--store", str(stores)]) == 0
    assert _rows(capsys.readouterr().out)["best"][1] == "price not measured"


def test_where_nothing_keeps_the_limits_the_numbers_are_those_of_the_nearest(stores, capsys):
    pair = [f"{stores}/other", "a", "--store", str(stores)]
    assert main(["compare", *pair]) == 0
    text = capsys.readouterr().out
    rows = _rows(text)
    assert rows["best"][1] == "nothing keeps the limits;"
    assert "nearest: trial " in text
    assert rows["output_throughput"][1].endswith(" tokens/s")
    assert rows["ttft.p99 <= 100 ms"][1].startswith("200.0 ±")
    assert rows["chance"][1] == "0 %"
    assert main(["compare", *pair, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["studies"]
    assert first["nearest"] is second["best"] is None
    assert second["nearest"]["metrics"]["ttft.p99"]["value"] == pytest.approx(0.2)
    assert main(["compare", *pair, "--ci"]) == 1, "the nearest is no best"


def test_a_metric_has_one_unit_in_all_studies_that_of_the_first(stores, capsys, monkeypatch):
    section, best, version, hardware = CASES["vllm"]
    per_minute = {"maximize": "speed", "limits": ["speed >= 600 tokens/min"]}
    for name, objective, speed in (("m", per_minute, 200.0), ("n", {"maximize": "speed"}, 20.0)):
        (stores / name).mkdir()
        monkeypatch.setitem(UNITS, "speed", "tokens/s" if name == "m" else "1")
        with record_study(
            stores / name, section, best, version, hardware, launches=0, name=name, objective=objective
        ) as study:
            for _ in range(3):
                record_trial(study, best, Reason.EXPLORE, {"speed": speed}, version)
            record_trial(study, study.space.default_config, Reason.CONFIRM, {"speed": 10.0}, version)
    assert main(["compare", f"{stores}/m", f"{stores}/n", "--store", str(stores), "--ci"]) == 1
    text = capsys.readouterr().out
    rows = _rows(text)
    for label, values in (("speed >= 600", (12000, 1200)), ("default speed", (600, 600))):
        for cell, value in zip(rows[label], values, strict=True):
            assert float(cell.split(" ±")[0]) == pytest.approx(value)
            assert cell.endswith(" tokens/min")
    (line,) = [line for line in text.splitlines() if line.startswith("::error")]
    assert line.count(" tokens/min") == 3, "limit, then and now"
    assert "tokens/s" not in text


def test_where_no_limit_names_a_unit_it_is_the_one_that_reads_best_for_the_first(stores, capsys, monkeypatch):
    section, best, version, hardware = CASES["vllm"]
    monkeypatch.setitem(UNITS, "wait", "s")
    for name, wait in (("p", 0.2), ("q", 3.0)):
        (stores / name).mkdir()
        with record_study(
            stores / name, section, best, version, hardware, launches=0, name=name,
            objective={"minimize": "wait"},
        ) as study:  # fmt: skip
            for _ in range(3):
                record_trial(study, best, Reason.EXPLORE, {"wait": wait}, version)
    assert main(["compare", f"{stores}/p", f"{stores}/q", "--store", str(stores), "--ci"]) == 1
    text = capsys.readouterr().out
    first, second = _rows(text)["wait"]
    assert first.startswith("200")
    assert second.startswith("3000")
    assert first.endswith(" ms")
    assert second.endswith(" ms")
    (line,) = [line for line in text.splitlines() if line.startswith("::error")]
    assert line.count(" ms") == 2, "then and now"


def test_a_quiet_study_is_as_sure_beside_noisy_ones_as_alone(stores, capsys):
    section, best, version, hardware = CASES["vllm"]
    for name, middle, part in (("quiet", 200.0, 0.002), ("noisy", 200.0, 0.3), ("slower", 185.0, 0.002)):
        (stores / name).mkdir()
        with record_study(
            stores / name,
            section,
            best,
            version,
            hardware,
            launches=0,
            name=name,
            speeds=(middle / 2, middle),
        ) as study:
            for sign in (1, -1, 1, -1):
                speed = middle * (1 + sign * part)
                record_trial(study, best, Reason.CONFIRM, {"output_throughput": speed, "ttft.p99": 0.2})
                default = {"output_throughput": speed / 2, "ttft.p99": 0.2}
                record_trial(study, study.space.default_config, Reason.CONFIRM, default)
    alone = {}
    for name in ("quiet", "noisy", "slower"):
        with Ledger.open(stores / name / "ledger.sqlite", read_only=True) as ledger:
            view = read_view(ledger, ledger.studies()[0])
        alone[name] = view.half_width(view.best, "output_throughput")
    assert alone["noisy"] > 20 * alone["quiet"]

    three = [f"{stores}/{name}" for name in ("quiet", "noisy", "slower")]
    for places in (three, three[:2], three[1::-1], [three[2], three[0], three[1]]):
        found = compare_studies(places, stores)
        for place, one in zip(places, found.studies, strict=True):
            assert one.view.half_width(one.best.contender, "output_throughput") == alone[place.split("/")[-1]]
            for change in one.changes:
                if change.metric == "output_throughput":
                    assert change.now.half == alone[place.split("/")[-1]]
                    assert change.then.half == alone[places[0].split("/")[-1]]
    assert main(["compare", *three, "--store", str(stores), "--ci", "--tolerance", "2%"]) == 1
    said = capsys.readouterr().out.splitlines()
    (error,) = [line for line in said if line.startswith("::error")]
    assert "slower beside" in error, "7 % less is beyond 2 % however noisy the study between them is"
    assert any(line.startswith("::warning") and "noisy beside" in line for line in said)
    assert main(["compare", *three, "--store", str(stores), "--ci", "--tolerance", "12%"]) == 0


def test_what_a_model_predicted_counts_under_the_limits_of_another_study(stores):
    """Each study's own model tells its spread; only the distance from the bound is another."""
    first, second = compare_studies(["a", f"{stores}/other:b"], stores).studies
    view = replace(second.view, objective=second.stated, predictions={"k": [(5.0, 0.1), (0.5, 0.2)]})
    ((goal, limit),) = _predictions(view, first.view.objective).values()
    assert goal == (5.0, 0.1)
    assert limit == (pytest.approx(0.5 + math.log(0.1 / 0.5)), 0.2), "100 ms there, 500 ms here"
    other = Objective.from_dict({"minimize": "output_throughput", "limits": ["ttft.p99 >= 1 ms"]})
    ((goal, limit),) = _predictions(view, other).values()
    assert all(math.isnan(value) for value in (*goal, *limit))


def test_every_limit_of_a_metric_has_the_value_beside_it(stores, tmp_path, capsys):
    both = {**LIMITS, "limits": ["ttft.p99 <= 500 ms", "ttft.p99 >= 1 ms"]}
    section, best, version, hardware = CASES["vllm"]
    for name in "cd":
        record_study(tmp_path, section, best, version, hardware, name=name, objective=both).close()
    assert main(["compare", "c", "d", "--store", str(stores)]) == 0
    lines = capsys.readouterr().out.splitlines()
    upper, lower = (next(x for x in lines if x.startswith(f"ttft.p99 {sign} ")) for sign in ("<=", ">="))
    assert upper[20:].split() == lower[20:].split() != []


@pytest.mark.parametrize("name", ["a/b", "..", "<b>x</b>", "other", "x.sqlite"])
def test_a_study_of_the_store_comes_before_a_path_of_its_name(tmp_path, monkeypatch, name):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    for each in ("n5", name):
        with Study(Space([Int("x", 0, 9)]), {"maximize": "speed"}, name=each, path="store") as study:
            study.tell(study.ask(), {"speed": 1.0})
    found = compare_studies(["n5", name], tmp_path / "store")
    assert [each.view.name for each in found.studies] == ["n5", name]


def test_a_damaged_store_keeps_nobody_from_comparing_others(tmp_path):
    for folder in ("one", "two"):
        path = tmp_path / folder
        with Study(Space([Int("x", 0, 9)]), {"maximize": "speed"}, name="s", path=path) as study:
            study.tell(study.ask(), {"speed": 1.0})
    store = tmp_path / "store"
    store.mkdir()
    (store / "ledger.sqlite").write_text("no database, but long enough to be taken for one " * 50)
    found = compare_studies([f"{tmp_path}/one:s", f"{tmp_path}/two"], store)
    assert len(found.studies) == 2
    with pytest.raises(LedgerError):
        compare_studies(["s", f"{tmp_path}/two"], store)
