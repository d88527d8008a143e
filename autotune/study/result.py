"""The result of a study as one value: what `autotune best` prints, in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments, check_class
from autotune.core.decision import Candidate
from autotune.core.estimate_text import show_estimate
from autotune.core.html import html_table, short
from autotune.core.measurement import Estimate
from autotune.core.ranking import Contender, Improvement
from autotune.core.trial import Config, config_key
from autotune.core.verdict import Verdict, show_chance
from autotune.errors import AutotuneError
from autotune.ledger import Ledger, StudyRow
from autotune.report.summary import best_lines, settlement_text, summary_json
from autotune.report.text import WIDTH, show_config, wrap
from autotune.study.exporting import deployed
from autotune.study.reading import read_view
from autotune.systems.deployment import Deployment
from autotune.systems.registry import build_system

_KEYS = ("schema", "study", "state", "best", "recommended", "default", "improvement", "verdict")


@check_class()
@dataclass(frozen=True, eq=False, repr=False)
class StudyResult:
    """The result of a study, as it stood when it was asked.

    ``print(result)`` shows what `autotune best` shows. Nothing raises where nothing was found: what there
    is not is ``None`` or empty.

    Args:
        view: The study.
        deployment: Deployment of the best configuration; ``None`` for a Python function.
        unknown: Reason why the deployment is not known here, such as a system that is not installed; mostly
            empty.
    """

    view: StudyView
    deployment: Deployment | None = None
    unknown: str = ""

    @property
    def winner(self) -> Contender | None:
        """The recommended configuration with all that was measured of it; ``None`` without one.

        Where none surely keeps the limits it is the nearest, and :attr:`recommended` is ``False``.
        """
        return self.view.best

    @property
    def recommended(self) -> bool:
        """Whether it keeps every limit as surely as asked."""
        return self.view.recommends

    @property
    def config(self) -> Config | None:
        """The recommended configuration: values of all active parameters."""
        return None if self.winner is None else dict(self.winner.config)

    @property
    def metrics(self) -> Mapping[str, Estimate]:
        """Its metrics, pooled over the launches that count; empty without one."""
        return {} if self.winner is None else dict(self.winner.metrics)

    @property
    def default(self) -> Contender | None:
        """What was measured of the default configuration."""
        return self.view.default

    @property
    def improvement(self) -> Improvement | None:
        """How much better it is than the default, with a 95 % interval."""
        return self.verdict.improvement if self.view.settled else self.view.lead

    @property
    def verdict(self) -> Verdict:
        """What was found, in words: ``verdict.kind``, ``verdict.text``, ``verdict.limits``."""
        return self.view.verdict

    @property
    def settle(self) -> str:
        """Which launches would settle what the verdict leaves open, and their time; empty if none."""
        return settlement_text(self.view)

    @property
    def chances(self) -> dict[str, float]:
        """Chance that the recommended configuration keeps each limit, by its text; empty while undecided."""
        found = self._candidate
        return {} if found is None else dict(found.chances)

    @property
    def confirmed(self) -> bool:
        """Whether fresh launches, apart from the search, confirmed it."""
        return self.winner is not None and self.winner.confirmed

    @property
    def pareto_front(self) -> list[Contender]:
        """The configurations that no other one is expected to beat in every goal; pooled metrics."""
        return [candidate.contender for candidate in self.view.decision.front]

    @property
    def command(self) -> str:
        """The line of a shell that deploys it; empty where nothing is started."""
        return "" if self.deployment is None else self.deployment.line

    @property
    def _candidate(self) -> Candidate | None:
        key = None if self.winner is None or not self.view.settled else self.winner.trial.key
        return next((c for c in self.view.decision.candidates if c.key == key), None)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data, that of `autotune best --json`."""
        data, deploy = summary_json(self.view), self.deployment
        found = {"deploy": deploy.words, "deployment": deploy.to_dict()} if deploy else {"deploy": []}
        return {**{key: data[key] for key in _KEYS}, **found}

    @check_arguments()
    def text(self, width: int = WIDTH) -> str:
        """Return what `autotune best` prints, in so many columns."""
        deploy = self.deployment.lines() if self.deployment else []
        deploy += wrap(f"deploy: not known here: {self.unknown}", width) if self.unknown else []
        return "\n".join([*best_lines(self.view, width=width), *deploy])

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        found = "nothing" if self.config is None else show_config(self.config)
        return f"<StudyResult {short(self.view.name, 40)!r}: {short(found, 90)}; {self.verdict.kind}>"

    def _repr_html_(self) -> str:
        view, best = self.view, self.winner
        if best is None:
            return html_table(f"{view.name}: nothing recommended", (), (), "\n".join(best_lines(view)))
        is_default = config_key(best.config) == config_key(view.default_config)
        base = None if is_default else self.default
        chances = self.chances
        rows = []
        for name in view.objective.metrics:
            limits = [str(limit) for limit in view.objective.limits if limit.metric == name]
            chance = ", ".join(
                f"{limit}: {show_chance(chances[limit])}" for limit in limits if limit in chances
            )
            rows.append((name, self._shown(best, name), self._shown(base, name), chance))
        which = "" if view.recommends else "nearest, "
        title = f"{view.name}: {which}trial {best.trial.number}: {show_config(best.config)}"
        said = (f"verdict: {self.verdict.text}", self.settle, self.command and f"deploy: {self.command}")
        side = "best" if view.recommends else "nearest"
        header = ("metric", side, "default", "chance that the limit holds")
        return html_table(title, header, rows, "\n".join(text for text in said if text))

    def _shown(self, side: Contender | None, name: str) -> str:
        if side is None or name not in side.metrics:
            return ""
        half, unit = self.view.half_width(side, name), self.view.shown_unit(name)
        return show_estimate(side.metrics[name], half, unit)


def read_result(ledger: Ledger, row: StudyRow) -> StudyResult:
    """Return the result of a study of a ledger."""
    view = read_view(ledger, row)
    try:
        return StudyResult(view, deployment_of(view))
    except AutotuneError as error:  # its system is not installed here: all else can be told
        return StudyResult(view, unknown=error.message)


def deployment_of(view: StudyView) -> Deployment | None:
    """Return what deploys the best configuration; ``None`` for a study without a system."""
    system = view.spec.system
    if system is None or view.best is None:
        return None
    return deployed(build_system(system.section), view.best, view)
