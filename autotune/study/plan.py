"""What running a study file would do, before anything is launched: what ``autotune check`` prints."""

from __future__ import annotations

import shlex
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean

import numpy as np

from autotune.core.allowed import Count
from autotune.core.file_names import LEDGER_NAME
from autotune.core.metric import base_unit
from autotune.core.trial import Config
from autotune.core.units import counted
from autotune.ledger import made_ledger
from autotune.measure.statistics.steady_state import MOST_TIME
from autotune.report.text import show_config, show_seconds, terminal_width, wrap
from autotune.study.study_file import StudyFile
from autotune.systems.base import Reusable, System, launched_config
from autotune.systems.own.system import OwnSystem
from autotune.systems.registry import REUSE

SAMPLES = 3
_MORE_SAMPLES = 256  # for a parameter that is active in none of the first
_STARTUP_S = (10.0, 120.0)  # seconds to come up: a small model on a laptop, a large one on GPUs
_SCRATCH = Path("SCRATCH")  # stands for the attempt's folder, which is made when it starts


@dataclass(frozen=True)
class LaunchPreview:
    """Preview of what one configuration would launch.

    Args:
        config: Config of the trial.
        argv: The process, as a list of arguments; empty without a system.
        files: Configuration files beside it, by name.
        problem: Reason why it would be refused before launching; empty if it would not.
    """

    config: Config
    argv: tuple[str, ...] = ()
    files: Mapping[str, str] | None = None
    problem: str = ""


@dataclass(frozen=True)
class StudyPreview:
    """Preview of what running a study file would do.

    Args:
        spec: The study file.
        count: Count of the allowed configurations.
        excluded: Share of the configurations that each constraint alone excludes, in [0, 1].
        default: The first trial.
        samples: Random other ones.
        restarts: Cost of changing a parameter, by name: ``system``, a launch, or ``request``; ``fixed`` for
            one of a single value. Empty for a system whose trials all start afresh.
        assumed_units: Unit that a number without one is taken in, by metric of the user's own: that of its
            limit, where nothing else says one.
        measured: Whether the system can be launched and measured, not only planned.
        seconds: Shortest and longest time expected for the trials that are left of the budget.
        seconds_from: Basis of that expectation.
        warnings: Reasons why trials may be wasted.
        problems: Reasons why a run would end before or at its first trial.
    """

    spec: StudyFile
    count: Count
    excluded: tuple[float, ...]
    default: LaunchPreview
    samples: tuple[LaunchPreview, ...]
    restarts: Mapping[str, str]
    assumed_units: Mapping[str, str]
    measured: bool
    seconds: tuple[float, float]
    seconds_from: str
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        spec = self.spec
        return {
            "name": spec.name,
            "configurations": {
                "count": self.count.value,
                "exact": self.count.exact,
                "error": self.count.error,
            },
            "parameters": list(spec.space.names),
            "constraints": [
                {"text": text, "excluded": share}
                for text, share in zip(spec.space.constraints, self.excluded, strict=True)
            ],
            "default": dict(self.default.config),
            "objective": spec.objective.to_dict(),
            "budget": {"trials": spec.budget.trials, "seconds": spec.budget.time_s},
            "expected_seconds": {"low": self.seconds[0], "high": self.seconds[1], "from": self.seconds_from},
            "engine": spec.engine.to_dict(),
            "system": spec.system.use if spec.system else None,
            "restarts": dict(self.restarts),
            "assumed_units": dict(self.assumed_units),
            "measured": self.measured,
            "warnings": list(self.warnings),
            "problems": list(self.problems),
            "launches": [
                {
                    "config": dict(x.config),
                    "argv": list(x.argv),
                    "files": dict(x.files or {}),
                    "problem": x.problem,
                }
                for x in (self.default, *self.samples)
            ],
        }


def make_plan(
    spec: StudyFile, store: Path, warnings: Sequence[str] = (), problems: Sequence[str] = ()
) -> StudyPreview:
    """Return the plan of a study file.

    Args:
        spec: The study file.
        store: Folder of the ledger, whose earlier trials of the study tell how long one takes.
        warnings: Reasons why trials may be wasted.
        problems: Reasons why it would not run here.
    """
    system = None if spec.system is None else spec.system.built
    rng = np.random.default_rng(spec.engine.seed)
    default = spec.space.default_config
    others = [config for config in spec.space.sample(SAMPLES + 1, rng) if config != default][:SAMPLES]
    seconds, rests_on = _expected_seconds(spec, store)
    return StudyPreview(
        spec=spec,
        count=spec.space.count(),
        excluded=tuple(spec.space.excluded()),
        default=_launch(spec, system, default),
        samples=tuple(_launch(spec, system, config) for config in others),
        restarts=_restarts(spec, system, [default, *others]),
        assumed_units=_assumed_units(spec),
        measured=system is not None and not getattr(system, "not_launched", ""),
        seconds=seconds,
        seconds_from=rests_on,
        warnings=tuple(warnings),
        problems=tuple(problems),
    )


def _assumed_units(spec: StudyFile) -> dict[str, str]:
    declared = spec.system.units if spec.system else {}
    return {
        limit.metric: limit.unit
        for limit in spec.objective.limits
        if limit.unit != "1" and not base_unit(limit.metric) and limit.metric not in declared
    }


def _restarts(spec: StudyFile, system: System | None, configs: Sequence[Config]) -> dict[str, str]:
    """Return what changing each parameter costs, seen at the ends and the middle of its values.

    A parameter that is active in none of the configurations is looked for in more of them, and left out where
    it is active in none of these either.
    """
    if not isinstance(system, Reusable):
        return {}
    found = {}
    for parameter in spec.space.parameters:
        name, levels = parameter.name, parameter.levels
        if len(levels) == 1:
            found[name] = "fixed"
            continue
        having = [config for config in configs if name in config]
        if not having:
            sampled = spec.space.sample(_MORE_SAMPLES, np.random.default_rng(0))
            having = [config for config in sampled if name in config][:SAMPLES]
        if not having:
            continue
        tried = (levels[0], levels[len(levels) // 2], levels[-1])
        groups = ([{**config, name: value} for value in tried] for config in having)
        keys = [
            {system.launch_key(launched_config(system, config, spec.space.derived)) for config in group}
            for group in groups
        ]
        found[name] = "request" if all(len(group) == 1 for group in keys) else "system"
    return found


def _launch(spec: StudyFile, system: System | None, config: Config) -> LaunchPreview:
    if system is None:
        return LaunchPreview(config)
    values = launched_config(system, config, spec.space.derived)
    failure = system.check(values)
    if failure is not None:
        return LaunchPreview(config, problem=f"{failure.cause.value}: {failure.message}")
    files = getattr(system, "files", None)
    command = system.command(values, _SCRATCH)
    argv = () if command is None else command.argv
    return LaunchPreview(config, tuple(argv), files(values) if files is not None else None)


def opening_line(spec: StudyFile, store: Path) -> str:
    """Return what a run of a study file will do and until when, as one line.

    Args:
        spec: The study file.
        store: Folder of the ledger.
    """
    searched, confirmations = _trials(spec)
    (low, high), _ = _expected_seconds(spec, store)
    what = counted(searched, "trial") + (f" of {spec.system.use}" if spec.system else "")
    if confirmations:
        what += f", then {counted(spec.budget.confirm, 'fresh launch')} each of winner and default"
    ends = datetime.fromtimestamp(clock.time() + high).astimezone().strftime("%H:%M")
    if spec.budget.time_s is not None and high == spec.budget.time_s:
        when = f"at most {show_seconds(high)}, until {ends}"
    elif low == 0 < high:
        when = "the first shows how long they take"
    else:
        when = f"{_range(low, high)} expected, until about {ends}"
    return f"{spec.name}: {what}; {when}. Ctrl-C loses nothing"


def _trials(spec: StudyFile) -> tuple[int, int]:
    """Return how many trials the search can have, and how many confirmations may follow."""
    searched = spec.space.searchable(spec.budget.trials)
    return searched, 2 * spec.budget.confirm if searched > 1 else 0


def _expected_seconds(spec: StudyFile, store: Path) -> tuple[tuple[float, float], str]:
    """Return the shortest and the longest time expected for the trials that are left, and what says so.

    What was measured says most: trials of the study itself, else those of the ledger on the same system. A
    program or a function tells nothing before it has run, other than that its deadlines end it; a system that
    this program loads itself is timed by the workload.
    """
    trials = sum(_trials(spec))
    parallel = 1 if spec.budget.parallel == "auto" else int(spec.budget.parallel)
    own, others = _earlier_measurements(spec, store)
    seen = own or others
    if own:
        trials = max(0, trials - len(own))
    if seen:
        # the middle 80 %: what one trial takes, not what an accident once took
        low, high = (float(np.quantile(seen, q)) for q in (0.1, 0.9))
        whose = "of this study" if own else "of the same system in this ledger"
        rests_on = f"{_range(low, high)} a trial, as {counted(len(seen), 'measured one')} {whose} took"
        low = high = mean(seen)
        if own:
            rests_on += f"; {trials} left"
    elif spec.system and isinstance(spec.system.built, OwnSystem):
        low, high = 0.0, spec.deadlines.startup_s + spec.deadlines.measure_s
        rests_on = (
            f"not known before the first trial: only `{spec.system.use}` itself knows; "
            f"deadlines end a trial after {show_seconds(high)}"
        )
    else:
        time = spec.workload.time
        low, high = _STARTUP_S[0] + 0.1 * time, _STARTUP_S[1] + (1 + MOST_TIME) * time
        rests_on = (
            f"{_range(low, high)} a trial: start-up of {_STARTUP_S[0]:g} s to {_STARTUP_S[1]:g} s guessed, "
            f"workload.time {show_seconds(time)}"
        )
    bounds = [one * trials / parallel for one in (low, high)]
    if spec.budget.time_s is not None:
        bounds = [min(bound, spec.budget.time_s) for bound in bounds]
    return (bounds[0], bounds[1]), rests_on


def _range(low: float, high: float) -> str:
    first, last = show_seconds(low), show_seconds(high)
    return first if first == last else f"{first} to {last}"


def _earlier_measurements(spec: StudyFile, store: Path) -> tuple[list[float], list[float]]:
    """Return the seconds of finished trials of this study, and of others on the same system and workload.

    Trials that failed count as well: those to come will fail as often.
    """
    own: list[float] = []
    others: list[float] = []
    with made_ledger(store / LEDGER_NAME) as ledger:
        if ledger is None:
            return own, others
        for row in ledger.studies():
            into = own if row.name == spec.name else others
            if spec.differs_from(row.spec, ("system", "workload")):
                continue
            finished = (t.measurement for t in ledger.trials(row.name) if t.state.finished)
            into += [m.seconds for m in finished if m is not None and m.seconds > 0]
    return own, others


def plan_lines(plan: StudyPreview) -> list[str]:
    """Return the plan as lines for people, as wide as the terminal where a command can be broken."""
    spec, space = plan.spec, plan.spec.space
    searched, confirmations = _trials(spec)
    budget = counted(searched, "trial")
    if searched < spec.budget.trials:
        budget += f" (of {spec.budget.trials}: there are no more configurations)"
    budget += f" and {counted(confirmations, 'confirmation')}" if confirmations else ""
    if spec.budget.time_s is not None:
        budget += f", at most {show_seconds(spec.budget.time_s)}"
    rows = [
        ("study", spec.name),
        ("space", f"{counted(plan.count, 'configuration')} of {counted(len(space), 'parameter')}"),
        ("objective", str(spec.objective)),
        ("budget", budget),
        ("time", f"{_expected(plan)} ({plan.seconds_from})"),
        ("engine", spec.engine.use),
        ("system", _system(plan)),
    ]
    requests = [name for name, cost in plan.restarts.items() if cost == "request"]
    if requests:
        how = "shared" if spec.system and spec.system.reuses else f"shared with `{REUSE}: true`"
        rows.append(("requests", f"{', '.join(requests)}: no launch of their own; a server is {how}"))
    fixed = [name for name, cost in plan.restarts.items() if cost == "fixed"]
    if fixed:
        rows.append(("fixed", f"{', '.join(fixed)}: one value only"))
    for metric, unit in plan.assumed_units.items():
        text = f"a {metric} without a unit is taken in {unit}, which its limit has"
        rows.append(("units", f"{text}; `units` of the system may say otherwise"))
    lines = _table(rows)
    if space.constraints:
        lines += ["", "constraints, and the share of configurations that each alone excludes:"]
        shares = [f"{share:.1%}" for share in plan.excluded]
        lines += [f"  {share:>6}  {text}" for share, text in zip(shares, space.constraints, strict=True)]
    for title, launch in (
        ("default", plan.default),
        *((f"sample {i + 1}", x) for i, x in enumerate(plan.samples)),
    ):
        lines += ["", *_table([(title, show_config(launch.config))])]
        if launch.problem:
            lines += _table([("refused", launch.problem)])
        if launch.argv:
            lines += _table([("launches", shlex.join(launch.argv))])
        for name, text in (launch.files or {}).items():
            lines += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
    told = [("warning", text) for text in plan.warnings] + [("problem", text) for text in plan.problems]
    return lines + (["", *_table(told)] if told else [])


def _expected(plan: StudyPreview) -> str:
    """Return the expected time in words; one of which only the upper end is known is a bound."""
    low, high = plan.seconds
    return f"at most {show_seconds(high)}" if low == 0 < high else _range(low, high)


def _system(plan: StudyPreview) -> str:
    """Return the name of the system, and whether it is measured at all."""
    if plan.spec.system is None:
        return "none"
    return plan.spec.system.use + ("" if plan.measured else "; it is planned only, not measured")


def _table(rows: list[tuple[str, str]]) -> list[str]:
    width = terminal_width()
    return [line for key, text in rows for line in wrap(f"{key:<9} {text}", width, indent=" " * 10)]
