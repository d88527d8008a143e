"""Whatever a class writes, it reads back."""

import importlib
import inspect
import json
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autotune
from autotune.core.answer import Answer
from autotune.core.deadlines import Deadlines
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.metric import METRICS
from autotune.core.objective import Goal, Limit, Objective
from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal, parameter_from_dict
from autotune.core.parameter.base import RESTARTS, Prior, read_prior
from autotune.core.placement import Rules
from autotune.core.redact import redact
from autotune.core.request import Request, RequestRecord
from autotune.core.section import Section
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.engine.gp.config import ACQUISITIONS, REGIONS, SURROGATES, GPConfig
from autotune.executor.base import AttemptResult, Job
from autotune.executor.brought import Brought
from autotune.integrations.ray_tune_space import TuneSpace
from autotune.integrations.ray_tune_space_data import Slot
from autotune.integrations.ray_tune_state import State
from autotune.ledger import Ledger
from autotune.measure.load.calibrate import Calibration
from autotune.measure.load.prompt_builder import PromptBuilder
from autotune.measure.quality.section import Quality
from autotune.measure.workload import RateSearch, RequestLimits, SharedPrefix, Turns, Workload, read_lengths
from autotune.spec.hooks import Hook, Hooks
from autotune.spec.sections import Budget, EngineConfig, Resources, Tracking
from autotune.study.study_file import StudyFile, read_stored_study
from autotune.study.verify_plan import VerificationPlan
from autotune.systems.base import System
from autotune.systems.command import CommandSystem
from autotune.systems.function import FunctionSystem
from autotune.systems.openai_server import OpenAIServerSystem
from autotune.systems.own.system import OwnSystem
from autotune.systems.ray_tune import RayTuneSystem
from autotune.systems.registry import SYSTEMS, SystemConfig
from autotune.systems.replay import ReplaySystem
from autotune.systems.served.flagged import FlaggedSystem
from autotune.systems.served.gguf_model import GGUFSystem
from autotune.systems.served.system import ServedSystem
from autotune.systems.transformers.system import TransformersSystem

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
trackings = st.builds(
    Tracking,
    st.none() | st.just("http://host:5000"),
    st.just("") | texts,
    ledger_copy_s=st.none() | st.just(0.0) | st.floats(1, 1e6),
)
deadlines = st.builds(Deadlines, seconds, seconds, seconds)
engines = st.builds(EngineConfig, st.just("gp"), counts, st.just({}) | st.just({"initial": "4"}))
hook = st.builds(
    Hook,
    url=st.sampled_from(["https://host/a", "http://host:80"]),
    secret_variable=st.sampled_from(["", "KEY"]),
) | st.sampled_from([Hook(url_variable="URL"), Hook(call="module:function")])
hooks = st.builds(Hooks, st.lists(hook, max_size=2).map(tuple), st.lists(hook, max_size=2).map(tuple))
texts_of_any_kind = st.text(max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
facts = st.dictionaries(
    texts, numbers | texts_of_any_kind | st.booleans() | st.none() | st.lists(counts), max_size=3
)
estimates = st.builds(
    Estimate,
    numbers,
    st.none() | st.floats(0, 1e6),
    counts,
    st.sampled_from(["1", "ms", "s", "GiB", "tokens/s", "own"]),
    st.booleans(),
    st.sampled_from(["", "at most"]),
)
metrics = st.dictionaries(st.sampled_from([*METRICS, "own_metric"]), estimates, max_size=3)
failures = st.builds(
    Failure,
    st.sampled_from(Cause),
    texts_of_any_kind | st.text(min_size=300),
    texts_of_any_kind,
    st.none() | st.floats(1, 1e9, exclude_min=True),
)
times = st.integers(0, 2**62)
measurements = st.builds(
    Measurement,
    metrics,
    st.none() | failures,
    facts,
    times,
    times,
    st.dictionaries(texts, texts_of_any_kind, max_size=2),
)
configs = st.dictionaries(names, st.booleans() | counts | seconds | texts_of_any_kind, max_size=4)
suggestions = st.builds(
    Suggestion,
    configs,
    st.sampled_from(Reason) | st.just(Reason("of a later version")),
    texts_of_any_kind,
    metrics,
    st.none() | shares,
)
answers = st.builds(
    Answer, texts_of_any_kind, st.none() | st.lists(counts | texts_of_any_kind, max_size=3).map(tuple)
)
arrivals = st.lists(st.tuples(times, counts), max_size=4).map(tuple)
records = st.builds(
    RequestRecord,
    *(sizes, sizes, times, arrivals, times, st.none() | texts_of_any_kind, times, times, texts, sizes, sizes),
    st.integers(-1, 2**20),
    texts_of_any_kind,
)
builders = st.builds(
    PromptBuilder,
    st.sampled_from(["tokenizer", "usage", "assumed"]),
    st.floats(0.1, 10),
    sizes,
    st.booleans(),
    st.lists(counts, max_size=3).map(tuple),
    st.lists(texts, max_size=3).map(tuple),
)
jobs = st.builds(
    Job,
    *(names, sizes, counts, configs, facts, facts, names, texts),
    deadlines=deadlines,
    resources=st.dictionaries(st.sampled_from(["cpus", "gpus", "stages"]), seconds),
    price=st.none() | seconds,
    limits=st.lists(st.tuples(names, st.sampled_from(["<=", ">="]), numbers).map(list), max_size=2),
    judged=st.lists(names, max_size=2),
    quality=facts,
    launch_key=texts_of_any_kind,
    fresh=st.booleans(),
    avoid=st.lists(names, max_size=2),
)


SERVED = [kind for name in SYSTEMS.builtin if issubclass(kind := SYSTEMS.load(name), ServedSystem)]


def served(kind):
    """Return systems of one server, each with a flag of it and a variable where it takes any."""
    flags = [{}]
    for name, flag in kind("m").table.flags.items():
        values = [flag.typed(text) for text in ("8", "0.5", "true", *(flag.choices or ()))]
        flags += [{name: value} for value in values if not flag.refuses(value)][:2]
    variables = [{}, *({name.replace("*", "A"): "1"} for name in kind.env_names)]
    return st.builds(
        kind,
        texts,
        draft_model=st.just("") | texts,
        flags=st.sampled_from(flags),
        program=st.lists(texts, max_size=2).map(tuple),
        env=st.sampled_from(variables),
        memory_limit=sizes,
    )


own = {"folder": texts, "repeats": counts, "units": st.dictionaries(texts.map("x_{}".format), st.just("ms")),
       "failures": st.dictionaries(st.just("3") | texts, st.sampled_from(Cause), max_size=2)}  # fmt: skip
priors = st.builds(Prior, numbers, st.none() | seconds) | st.builds(
    Prior, weights=st.dictionaries(texts | counts | st.booleans(), seconds, min_size=1, max_size=3)
)


def believed(draw, values):
    """Return a belief about listed values, or none."""
    return (
        Prior(weights=draw(st.dictionaries(st.sampled_from(values), seconds, min_size=1)))
        if draw(st.booleans())
        else None
    )


@st.composite
def spaces(draw):
    """Return a space with one of each kind of parameter."""
    found = draw(st.lists(names.filter(lambda name: name not in ("and", "or", "not", "in", "true", "false")),
                          min_size=5, max_size=5, unique=True))  # fmt: skip
    whole, real, flag, ordered, named = found

    def shared():
        return {
            "restart": draw(st.sampled_from(RESTARTS)),
            "memory": draw(st.sampled_from([None, "up", "down"])),
            "unit": draw(st.just("") | texts),
            "description": draw(st.just("") | texts_of_any_kind),
        }

    low = draw(st.integers(1, 50))
    condition = draw(st.sampled_from([None, flag]))
    levels = draw(st.lists(st.integers(1, 99), min_size=2, max_size=5, unique=True).map(sorted))
    labels = draw(st.lists(texts, min_size=2, max_size=3, unique=True))
    around = draw(st.none() | st.builds(Prior, st.floats(0.25, 0.5), st.none() | seconds))
    parameters = (
        Int(whole, low, low + draw(st.integers(1, 50)), scale=draw(st.sampled_from(["linear", "log2"])),
            prior=draw(st.none() | st.just(Prior(low, 2.0))), **shared()),
        Float(real, 0.25, draw(st.floats(0.5, 9.0)), when=condition, prior=around, **shared()),
        Bool(flag, default=draw(st.booleans()), prior=believed(draw, [True, False]), **shared()),
        Ordinal(ordered, tuple(levels), prior=believed(draw, levels), **shared()),
        Categorical(named, tuple(labels), prior=believed(draw, labels), **shared()),
    )  # fmt: skip
    derived = {"twice_it": f"{whole} * 2"} if draw(st.booleans()) else {}
    constraints = ("twice_it >= 2",) if derived else ()
    space = Space(parameters, constraints, derived=derived)
    if draw(st.booleans()):
        listed = space.sample(draw(st.integers(1, 4)), np.random.default_rng(low))
        space = Space(parameters, constraints, listed, derived)
    return space


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


@st.composite
def spaces_of_tune(draw):
    """Return a space of Ray Tune's: nested, with constants and values of Tune's own."""
    space = draw(spaces())
    first, *rest = space.names
    template = {"constant": draw(texts_of_any_kind | st.lists(counts)), "own": Slot(first),
                "inner": {name: Slot(name) for name in rest}}  # fmt: skip
    return TuneSpace(space, template)


ROUND_TRIPS = {
    Answer: answers,
    AttemptResult: st.builds(AttemptResult, st.tuples(names, sizes, counts), measurements, texts),
    Brought: st.builds(Brought, texts, st.dictionaries(texts, texts_of_any_kind, max_size=2)),
    Budget: budgets,
    Calibration: st.builds(Calibration, builders, sizes, texts_of_any_kind, st.booleans(), texts),
    CommandSystem: st.builds(CommandSystem, st.lists(texts, min_size=1),
                             st.dictionaries(texts, texts), **own),
    Deadlines: deadlines,
    EngineConfig: engines,
    Estimate: estimates,
    Failure: failures,
    FunctionSystem: st.builds(FunctionSystem, names.map("m:{}".format), **own),
    GPConfig: st.builds(GPConfig, counts, st.sampled_from(sorted(SURROGATES)),
                        st.sampled_from(sorted(ACQUISITIONS)),
                        st.booleans(), st.sampled_from(REGIONS)),
    Hook: hook,
    Hooks: hooks,
    Job: jobs,
    Measurement: measurements,
    Objective: objectives(),
    OpenAIServerSystem: st.builds(OpenAIServerSystem, url=st.just("http://h:1"), model=texts,
                                  body=st.none() | st.just({"a": 1.5}), request=st.lists(names).map(tuple)),
    VerificationPlan: st.builds(VerificationPlan, names, sizes, counts),
    Quality: qualities,
    RateSearch: searches,
    RayTuneSystem: st.builds(RayTuneSystem, names.map("m:{}".format), **own),
    ReplaySystem: st.builds(ReplaySystem, texts, texts, st.sampled_from(["measured", "none", "2 %"])),
    Request: st.builds(Request, sizes, texts_of_any_kind, counts, st.none() | counts),
    RequestLimits: limits,
    RequestRecord: records,
    Resources: resources,
    Rules: st.builds(Rules, **rules),
    PromptBuilder: builders,
    SharedPrefix: st.builds(SharedPrefix, counts, shares, counts),
    Space: spaces(),
    Suggestion: suggestions,
    SystemConfig: st.sampled_from([{"use": "vllm", "model": "m", "reuse": "false"},
                                   {"use": "command", "argv": ["prog"]}]).map(SystemConfig.from_dict),
    Tracking: trackings,
    TransformersSystem: st.builds(TransformersSystem, texts, texts, st.sampled_from(["cpu", "cuda"]),
                                  memory_limit=sizes),
    TuneSpace: spaces_of_tune(),
    Turns: st.builds(Turns, st.integers(2, 9), counts),
    Workload: workloads,
    **{kind: served(kind) for kind in SERVED},
}  # fmt: skip
"""What a class reads back, by the class."""

NEVER_MADE = {
    Section: "what declared sections share",
    System: "a protocol",
    FlaggedSystem: "what served systems share",
    GGUFSystem: "what served systems of one file share",
    OwnSystem: "what programs of the user's own share",
    ServedSystem: "what served systems share",
    State: "read only: Ray Tune keeps what its searcher writes, tests/integrations reads it back",
}
"""Classes with both methods of which there is no value that writes itself."""


def as_json(data):
    return json.loads(json.dumps(data))


@pytest.mark.parametrize("kind", ROUND_TRIPS, ids=lambda kind: kind.__name__)
def test_what_a_class_writes_it_reads_back(kind):
    @quick
    @given(ROUND_TRIPS[kind])
    def holds(value):
        written = as_json(value.to_dict())
        again = kind.from_dict(written)
        assert type(again) is type(value) is kind
        assert again == value
        assert as_json(again.to_dict()) == as_json(value.to_dict())

    holds()


def test_every_class_that_reads_what_it_writes_takes_part():
    found = set()
    for module in pkgutil.walk_packages(autotune.__path__, "autotune."):
        if module.name.endswith(".__main__"):
            continue
        for name, kind in vars(importlib.import_module(module.name)).items():
            ours = inspect.isclass(kind) and kind.__module__.startswith("autotune.") and name[0] != "_"
            if ours and all(callable(getattr(kind, method, None)) for method in ("from_dict", "to_dict")):
                found.add(kind)
    assert found == {*ROUND_TRIPS, *NEVER_MADE}


@quick
@given(priors)
def test_a_belief_is_read_back(prior):
    assert read_prior(as_json(prior.to_dict())) == prior


@quick
@given(spaces())
def test_parameters_are_read_back(space):
    for parameter in space:
        again = parameter_from_dict(parameter.name, as_json(parameter.to_dict()))
        assert again == parameter
        assert again.stated_belief == parameter.stated_belief
    assert Space.from_dict(as_json(space.to_dict())).configurations == space.configurations


@quick
@given(suggestions, measurements, st.sampled_from([state for state in TrialState if state.finished]))
def test_a_trial_is_read_back_from_a_ledger(suggestion, measurement, state):
    with Ledger.open(":memory:") as ledger:
        ledger.create_study("s", spec={}, fingerprint="f", seed=0, engine="gp")
        ledger.add_measured("s", 0, suggestion, measurement, state)
        found = ledger.trial("s", 0)
    failure = measurement.failure
    if failure is not None:  # without what looks like a secret
        failure = replace(failure, message=redact(failure.message), log_tail=redact(failure.log_tail))
    assert found == Trial(0, suggestion, state, 1, replace(measurement, failure=failure))


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
