"""A study file as one value: read once, by one reader, and read back from what it writes."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autotune
from autotune.core.deadlines import Deadlines
from autotune.core.metric import METRICS
from autotune.core.objective import Goal, Limit, Objective
from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal, parameter_from_dict
from autotune.core.placement import Rules
from autotune.core.section import Section
from autotune.core.space import Space
from autotune.engine.gp.config import GPConfig
from autotune.errors import SpecError
from autotune.executor.brought import FOLDER
from autotune.measure.quality.section import Quality
from autotune.measure.workload import RateSearch, RequestLimits, SharedPrefix, Turns, Workload, read_lengths
from autotune.spec import catalogue
from autotune.spec.hooks import Hook, Hooks
from autotune.spec.load import read_file
from autotune.spec.sections import Budget, EngineConfig, Resources, Tracking
from autotune.study.jobs import make_job
from autotune.study.plan import make_plan
from autotune.study.readiness import readiness
from autotune.study.study_file import StudyFile, read_stored_study, read_study, study_from_dict
from autotune.systems import registry
from autotune.systems.command import CommandSystem
from autotune.systems.function import FunctionSystem
from autotune.systems.openai_server import OpenAIServerSystem
from autotune.systems.ray_tune import RayTuneSystem
from autotune.systems.registry import SystemConfig
from autotune.systems.replay import ReplaySystem
from autotune.systems.transformers.system import TransformersSystem
from autotune.systems.vllm import VLLMSystem

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
STUDY = """
parameters:
  threads: {type: ordinal, values: [1, 2, 4]}
  batch: {type: int, low: 1, high: 8}
derived: {work: threads * batch}
constraints: [work <= 16]
system: {use: command, argv: [prog, "{threads}", "{batch}"]}
objective: {maximize: speed}
"""

VLLM = "system: {use: vllm, model: m}"

quick = settings(max_examples=25, derandomize=True, deadline=None)
names = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)
counts = st.integers(1, 1000)
seconds = st.floats(1e-3, 1e6)
shares = st.floats(0, 1)
sizes = st.integers(0, 2**40)
texts = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
expressions = st.sampled_from(["", "1", "threads * 2", "threads"])
lengths = st.sampled_from(
    [
        8,
        {"mean": 64.5, "spread": 3},
        {"mean": 64, "spread": 9, "shape": "lognormal"},
        {"mixture": [{"mean": 4, "share": 0.25}, {"values": [3, 3, 9]}]},
        {"values": [4, 5], "shares": [0.5, 2]},
    ]
).map(lambda data: read_lengths(data, "prompt_tokens"))
limits = st.builds(RequestLimits, st.none() | seconds, st.none() | seconds, seconds)
closed = st.builds(
    Workload,
    prompt_tokens=lengths,
    output_tokens=lengths,
    requests=st.none() | counts,
    precision=st.floats(0.001, 0.999),
    min_batches=st.integers(2, 99),
    time=seconds,
    warmup=st.none() | st.integers(0, 9),
    seed=st.integers(0, 2**40),
    goodput=limits,
    concurrency=st.none() | counts,
    shared_prefix=st.none() | st.builds(SharedPrefix, counts, shares, counts),
    max_error_rate=shares,
)
searches = st.builds(RateSearch, st.none() | st.floats(0.1, 1), st.none() | st.floats(2, 100))
open_loops = st.builds(
    Workload,
    arrival=st.just("gamma"),
    rate=st.floats(0.1, 100) | searches,
    burstiness=st.floats(0.1, 10),
    turns=st.none() | st.builds(Turns, st.integers(2, 9), counts),
)
workloads = closed | open_loops
qualities = st.builds(
    Quality,
    prompts=st.integers(1, 1024) | texts.map(lambda text: f"{text}.txt"),
    tasks=st.just("bundled") | st.just(""),
    text=st.just("") | texts,
    scorer=st.sampled_from(["", "module:function"]) | st.lists(texts, min_size=1),
    max_tokens=st.integers(1, 1024),
    agreement=st.booleans(),
    folder=st.just("/data"),
)
budgets = st.builds(
    Budget,
    counts,
    st.none() | seconds,
    st.just("auto") | counts.map(str),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(["budget", "converged"]),
)
rules = {
    "exclusive": st.sampled_from(["auto", "node", "none"]),
    "accelerator": st.just("") | texts,
    "labels": st.dictionaries(texts, texts, max_size=2),
}
resources = st.builds(
    Resources, cpus=expressions, gpus=expressions, stages=expressions, price=expressions, **rules
)
trackings = st.builds(Tracking, st.none() | st.just("http://host:5000"), st.just("") | texts)
deadlines = st.builds(Deadlines, seconds, seconds, seconds)
engines = st.builds(EngineConfig, st.just("gp"), counts, st.just({}) | st.just({"initial": "4"}))
hook = st.builds(
    Hook,
    url=st.sampled_from(["https://host/a", "http://host:80"]),
    secret_variable=st.sampled_from(["", "KEY"]),
) | st.sampled_from([Hook(url_variable="URL"), Hook(call="module:function")])
hooks = st.builds(Hooks, st.lists(hook, max_size=2).map(tuple), st.lists(hook, max_size=2).map(tuple))
sections = st.one_of(
    workloads, qualities, budgets, resources, trackings, deadlines, engines, searches, limits, hook, hooks,
    st.builds(Rules, **rules),
    st.builds(GPConfig, initial=counts, repeat=st.booleans(), trust_region=st.sampled_from(["on", "off"])),
    st.builds(TransformersSystem, texts, texts, st.sampled_from(["cpu", "cuda"]), memory_limit=sizes),
    st.builds(CommandSystem, st.lists(texts, min_size=1), st.dictionaries(texts, texts), folder=texts,
              repeats=counts, units=st.dictionaries(texts.map("x_{}".format), st.just("ms"))),
    st.builds(FunctionSystem, names.map("m:{}".format), repeats=counts),
    st.builds(RayTuneSystem, names.map("m:{}".format), repeats=counts),
    st.builds(ReplaySystem, texts, texts, st.sampled_from(["measured", "none", "2 %"])),
    st.builds(OpenAIServerSystem, url=st.just("http://h:1"), model=texts,
              body=st.none() | st.just({"a": 1.5}), request=st.lists(names).map(tuple)),
    st.builds(VLLMSystem, texts, flags=st.just({"max_num_seqs": 8}), memory_limit=sizes),
)  # fmt: skip


def scalars(kind):
    return st.lists(kind, min_size=2, max_size=5, unique=True).map(sorted)


@st.composite
def spaces(draw):
    """Return a space with one of each kind of parameter."""
    found = draw(st.lists(names.filter(lambda name: name not in ("and", "or", "not", "in", "true", "false")),
                          min_size=5, max_size=5, unique=True))  # fmt: skip
    whole, real, flag, ordered, named = found
    low = draw(st.integers(1, 50))
    condition = draw(st.sampled_from(["", flag]))
    parameters = (
        Int(whole, low, low + draw(st.integers(1, 50)), scale=draw(st.sampled_from(["linear", "log2"]))),
        Float(real, 0.25, draw(st.floats(0.5, 9.0)), when=condition or None),
        Bool(flag, default=draw(st.booleans())),
        Ordinal(ordered, tuple(draw(scalars(st.integers(1, 99))))),
        Categorical(named, tuple(draw(st.lists(texts, min_size=2, max_size=3, unique=True)))),
    )
    derived = {"twice_it": f"{whole} * 2"} if draw(st.booleans()) else {}
    constraints = ("twice_it >= 2",) if derived else ()
    return Space(parameters, constraints, derived=derived)


@st.composite
def objectives(draw):
    """Return an objective with goals and limits."""
    goals = tuple(
        Goal(name, draw(st.booleans())) for name in draw(st.lists(names, min_size=1, max_size=2, unique=True))
    )
    texts_of_limits = st.sampled_from(["ttft.p99 <= 250.5 ms", "memory.peak <= 4 GiB", "own_metric >= 3",
                                       "e2e.p50 <= 90 % of default"])  # fmt: skip
    found = tuple(Limit.parse(text) for text in draw(st.lists(texts_of_limits, max_size=3, unique=True)))
    return Objective(goals, found, draw(texts), draw(st.sampled_from([0.9, 0.95])))


def as_json(data):
    return json.loads(json.dumps(data))


@quick
@given(sections)
def test_a_section_is_read_back_from_what_it_writes(section):
    written = as_json(section.to_dict())
    if isinstance(section, GPConfig):
        written = {key: written[key] for key in ("initial", "repeat", "trust_region")}
    assert type(section).from_dict(written) == section


@quick
@given(spaces())
def test_a_space_and_its_parameters_are_read_back(space):
    again = Space.from_dict(as_json(space.to_dict()))
    assert again.fingerprint == space.fingerprint
    assert again.to_dict() == space.to_dict()
    for parameter in space:
        assert parameter_from_dict(parameter.name, as_json(parameter.to_dict())) == parameter


@quick
@given(objectives())
def test_an_objective_is_read_back(objective):
    assert Objective.from_dict(as_json(objective.to_dict())) == objective


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_metric_is_read_back_from_an_objective(metric):
    objective = Objective(
        (Goal(metric, True),), (Limit.parse(f"{metric} <= 3 {METRICS[metric].unit}".removesuffix(" 1")),)
    )
    assert Objective.from_dict(as_json(objective.to_dict())) == objective


@quick
@given(spaces(), objectives(), workloads, st.none() | qualities, budgets, trackings, deadlines, engines,
       hooks)  # fmt: skip
def test_a_study_file_is_read_back(
    space, objective, workload, quality, budget, tracking, deadline, engine, on
):
    system = SystemConfig.from_dict({"use": "command", "argv": ["prog", "{parameters}"], "folder": "/tmp"})
    study = StudyFile("demo", space, objective, system, workload, quality, budget, Resources(cpus="2"),
                      engine, tracking, deadline, hooks=on, trusted=("a line",))  # fmt: skip
    again = read_stored_study(as_json(study.to_dict()))
    assert again.to_dict() == study.to_dict()
    for part in ("system", "workload", "quality", "budget", "resources", "engine", "tracking", "deadlines",
                 "hooks"):  # fmt: skip
        assert getattr(again, part) == getattr(study, part), part
    assert not study.differs_from(as_json(again.to_dict()))


def test_every_section_takes_part():
    """A section that is added is read back too."""
    tried = {Workload, Quality, Budget, Resources, Tracking, Deadlines, Hook, Hooks, RateSearch,
             RequestLimits, Rules, SharedPrefix, Turns, GPConfig, TransformersSystem, CommandSystem,
             FunctionSystem, RayTuneSystem, ReplaySystem, OpenAIServerSystem, VLLMSystem}  # fmt: skip

    def below(kind):
        return {kind, *(each for child in kind.__subclasses__() for each in below(child))}

    own = {kind for kind in below(Section) if kind.__module__.startswith("autotune.") and kind.title}
    own -= {kind for kind in own if kind.__module__.startswith("autotune.integrations.")}  # states
    assert {kind for kind in own if not issubclass(kind, VLLMSystem.__mro__[2])} <= tried


@pytest.mark.parametrize("name", catalogue.names("search_spaces"))
def test_a_shipped_space_is_read_alike_by_all_and_read_back(name, tmp_path):
    model = "" if name in ("inference_time_compute", "cpu_inference") else ", model: m"
    file = catalogue.find("search_spaces", name)
    of_python = Space.from_yaml(file)
    assert of_python.fingerprint == autotune.load_space(name).fingerprint
    assert Space.from_dict(as_json(of_python.to_dict())).fingerprint == of_python.fingerprint
    whole = read_file(file)[1].data
    use = whole.get("system", {}).get("use")
    own = tmp_path / "study.yaml"
    if use is None:
        own.write_text(f"space: {name}\nobjective: {{maximize: speed}}\n")
    else:
        own.write_text(f"space: {name}\nsystem: {{use: {use}{model or ', model: m'}}}\n")
    study = read_study(own)
    assert study.space.fingerprint == of_python.fingerprint
    assert read_stored_study(as_json(study.to_dict())).to_dict() == study.to_dict()


@pytest.mark.parametrize("name", catalogue.names("objectives"))
def test_a_shipped_objective_is_read_back(name):
    objective = autotune.load_objective(name)
    assert objective == Objective.from_yaml(catalogue.find("objectives", name))
    assert Objective.from_dict(as_json(objective.to_dict())) == objective


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_read_alike_by_all_and_read_back(file):
    study = read_study(file)
    assert Space.from_yaml(file).fingerprint == study.space.fingerprint
    assert Objective.from_yaml(file) == study.objective
    assert read_stored_study(as_json(study.to_dict())).to_dict() == study.to_dict()


def test_derived_values_are_kept_by_every_reader(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    study = read_study(file)
    assert Space.from_yaml(file).to_dict() == autotune.load_space(file).to_dict() == study.space.to_dict()
    assert study.space.derived == {"work": "threads * batch"}
    assert autotune.load_space("inference_time_compute").derived


def test_the_objective_of_a_study_that_states_none_is_that_of_check(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("space: transformers\nsystem: {use: transformers, model: tiny}\nobjective: throughput\n")
    assert Objective.from_yaml(file) == read_study(file).objective
    file.write_text("parameters: {batch_size: {type: int, low: 1, high: 4}}\n"
                    "system: {use: transformers, model: tiny}\n")  # fmt: skip
    assert Objective.from_yaml(file) == read_study(file).objective


@pytest.mark.parametrize("use", ["command", "openai_server"])
def test_the_system_of_a_study_is_built_once(use, tmp_path, monkeypatch):
    """From reading to the jobs of several attempts; a space makes its owner's words be looked at."""
    kind = {"command": CommandSystem, "openai_server": OpenAIServerSystem}[use]
    words = {
        "command": "argv: [python3, -V, '{threads}']",
        "openai_server": "command: [python3, '{port}', '{threads}']",
    }
    (tmp_path / "base.yaml").write_text("parameters: {threads: {type: ordinal, values: [1, 2, 4]}}\n")
    file = tmp_path / "study.yaml"
    file.write_text(
        f"space: ./base.yaml\nsystem: {{use: {use}, {words[use]}}}\nobjective: {{maximize: speed}}\n"
    )
    built = []
    plain = kind.from_dict.__func__
    monkeypatch.setattr(
        kind, "from_dict", classmethod(lambda cls, data: built.append(data) or plain(cls, data))
    )
    study = read_study(file)
    readiness(study)
    make_plan(study, tmp_path)
    for attempt in (1, 2, 3):
        make_job(study, "s", study.space.default_config, {}, tmp_path, trial=0, attempt=attempt)
    assert len(built) == 1


def test_files_of_lengths_lie_beside_the_study_wherever_it_is_read_from(tmp_path, monkeypatch):
    (tmp_path / "lengths.txt").write_text("16\n16\n512\n")
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "study.yaml"
    file.write_text("space: vllm\nsystem: {use: vllm, model: m}\nworkload:"
                    " {arrival: poisson, rate: 4, prompt_tokens: {file: lengths.txt}}\n")  # fmt: skip
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_study(file).workload.prompt_tokens.longest == 512
    job_data = read_study(file).workload.to_dict()
    (tmp_path / "lengths.txt").unlink()
    assert Workload.from_dict(as_json(job_data)).prompt_tokens.longest == 512  # they travel with the job


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("workload: {trace: absent.csv}", r"study\.yaml:3:\d+: .*absent\.csv"),
        (
            "workload: {rate: 4, prompt_tokens: {file: absent.txt}}",
            r"study\.yaml:3:\d+: cannot read the lengths",
        ),
        ("quality: {tasks: absent.jsonl}", r"study\.yaml:3:\d+: tasks: cannot read"),
    ],
)
def test_a_file_that_is_not_there_is_said_where_it_is_named(section, said, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(f"parameters: {{max_num_seqs: {{type: int, low: 1, high: 8}}}}\n{VLLM}\n{section}\n")
    with pytest.raises(SpecError, match=said):
        read_study(file)


def test_a_ledger_that_kept_sections_as_they_were_written_is_the_same_study(tmp_path):
    file = tmp_path / "study.yaml"
    parameters = "parameters: {max_num_seqs: {type: int, low: 1, high: 8}}"
    file.write_text(f"{parameters}\n{VLLM}\nworkload: {{rate: 4, time: 90 s}}\nquality: {{prompts: 4}}\n")
    study = read_study(file)
    stored = {**study.to_dict(), "workload": {"rate": "4.0", "time": "1.5 min"},
              "quality": {"prompts": "4", "folder": str(tmp_path)}}  # fmt: skip
    assert not study.differs_from(as_json(stored))
    assert study.differs_from({**stored, "workload": {"rate": "5"}}) == "workload"
    assert study.differs_from({**stored, "workload": {"rate": "no rate"}}) == "workload"
    assert study.differs_from({**stored, "quality": {}}) == "quality"
    assert study.differs_from({**stored, "system": {"use": "vllm", "model": "other"}}) == "system"


@pytest.mark.parametrize(
    "lines",
    [
        "system: {use: command, argv: [sh, a.sh]}",
        "system: {use: vllm, model: a/b}\nworkload: {trace: rows.jsonl}",
    ],
    ids=["system", "workload"],
)
def test_the_folders_of_submissions_differ_in_nothing_that_was_measured(tmp_path, monkeypatch, lines):
    text = f"parameters: {{max_num_seqs: {{type: int, low: 1, high: 9}}}}\n{lines}\n"
    text += "objective: {maximize: output_throughput}\n"
    home, studies = tmp_path / "files" / "chat", []
    for folder in (
        home,
        home / f"{1:016x}",
        home / f"{2:016x}",
    ):  # of an earlier version, and two of this one
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text('{"timestamp": 0, "input_length": 9, "output_length": 9}\n')
        (folder / "study.yaml").write_text(text)
        studies.append(read_study(folder / "study.yaml"))
    stored = [as_json(study.to_dict()) for study in studies]
    assert studies[2].differs_from(stored[1])  # nobody said that these are submissions
    monkeypatch.setenv(FOLDER, str(home / f"{2:016x}"))
    assert [studies[2].differs_from(each) for each in stored] == ["", "", ""]
    monkeypatch.setenv(FOLDER, str(tmp_path / "files" / "code" / f"{2:016x}"))
    assert studies[2].differs_from(stored[1])


def test_the_tracking_store_of_the_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:1")
    data = {"name": "s", "parameters": {"a": {"type": "bool"}}}
    assert study_from_dict(data).tracking.mlflow == os.environ["MLFLOW_TRACKING_URI"]
    for off in ("none", "null", "~", "off"):
        assert study_from_dict({**data, "tracking": {"mlflow": off}}).tracking.mlflow is None


def test_a_plugin_of_a_space_is_not_imported_before_its_owner_is_asked(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text("parameters: {a: {type: bool}}\nsystem: {use: toy}\n")
    file = tmp_path / "study.yaml"
    file.write_text("space: ./base.yaml\nobjective: {maximize: speed}\n")
    loaded = []
    monkeypatch.setattr(registry, "build_system", loaded.append)
    monkeypatch.setattr(registry, "locate_system", lambda section, folder: loaded.append(section))
    with pytest.raises(SpecError, match="may not say this"):
        read_study(file)
    assert not loaded


def test_a_program_that_makes_its_own_load_is_recorded_with_none(tmp_path):
    (tmp_path / "study.yaml").write_text(
        "parameters: {x: {type: int, low: 1, high: 4}}\n"
        "system: {use: command, argv: [echo, '{x}']}\n"
        "objective: {minimize: y}\n"
    )
    study = read_study(tmp_path / "study.yaml")
    assert study.to_dict()["workload"] == {}
    job = make_job(study, "s", {"x": 1}, {}, tmp_path, trial=0, attempt=1)
    assert job.workload == {}


def test_a_file_may_name_what_is_measured_first(tmp_path):
    file = tmp_path / "mine.yaml"
    text = "parameters:\n  a: {type: int, low: 1, high: 8}\n  b: {type: bool}\nobjective: {maximize: x}\n"
    file.write_text(f"{text}start:\n  - {{a: 3, b: true}}\n  - {{a: 5}}\n")
    study = read_study(file)
    assert study.start == ({"a": 3, "b": True}, {"a": 5, "b": False})
    assert read_stored_study(study.to_dict()).start == study.start
    file.write_text(f"{text}start:\n  - {{a: 3}}\n  - {{a: 9}}\n")
    with pytest.raises(SpecError, match=r"mine.yaml:7:9: a cannot be '9'; allowed: int from 1 to 8"):
        read_study(file)
    file.write_text(f"{text}budget: {{trials: 2}}\nstart:\n  - {{a: 3}}\n  - {{a: 4}}\n")
    with pytest.raises(
        SpecError, match=r"mine.yaml:7:3: 2 configurations to start with and the default are 3"
    ):
        read_study(file)


@pytest.mark.parametrize(
    "override", ["name=other", "parameters.x.high=4", "parameters={x: {type: bool}}", "constraints=[x <= 2]",
                 "space=vllm", "space.parameters.x.high=4", "configurations=[{x: 1}]"],
)  # fmt: skip
def test_what_makes_a_stored_study_the_one_that_it_is_cannot_be_set(override):
    stored = {
        "name": "u", "space": {"parameters": {"x": {"type": "int", "low": 1, "high": 9}}},
        "objective": {"maximize": "speed"},
    }  # fmt: skip
    with pytest.raises(
        SpecError, match=f"^--set {re.escape(override)}: study 'u' is in the ledger"
    ) as caught:
        read_stored_study(stored, [override])
    assert "autotune run FILE" in caught.value.hint
