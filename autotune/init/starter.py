"""From a model's name to the text of a study file."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from autotune.convert.names import study_name
from autotune.core.kinds import Choice
from autotune.init.choose import choose
from autotune.init.find_model import find_model
from autotune.init.goals import GOALS, aim, spending
from autotune.init.machine import Machine, look
from autotune.init.model import GGUF, ModelCard
from autotune.init.proposal import Request
from autotune.init.workloads import load_named
from autotune.init.write import Draft, study_text

DEFAULT_WORKLOAD = "chat"
_LONGEST_STEM = 40


@dataclass(frozen=True)
class Options(Request):
    """The wishes of a user beside the model.

    Args:
        system: System that is to serve it; empty where that is open.
        workload: Name of a load.
        budget: Trials or time; empty for ours.
        program: Program of the system, or the Python that has it, that is not on the ``PATH``.
    """

    system: str = ""
    workload: str = DEFAULT_WORKLOAD
    budget: str = ""
    program: str = ""

    def check(self) -> None:
        """Refuse unknown names.

        Raises:
            SpecError: The workload or the goal is unknown.
        """
        load_named(self.workload)
        Choice(GOALS).read(self.goal, "goal")

    def words(self) -> list[str]:
        """Return the options as words of a command, without those that are as usual."""
        pairs = (
            ("--system", self.system),
            ("--program", self.program),
            ("--draft-model", self.draft_model),
            ("--workload", "" if self.workload == DEFAULT_WORKLOAD else self.workload),
            ("--goal", "" if self.goal == Request.goal else self.goal),
            *(("--limit", limit) for limit in self.limits),
            ("--budget", self.budget),
        )
        return [word for option, value in pairs if value for word in (option, value)]


@dataclass(frozen=True)
class Starter:
    """A study file that was written for a model.

    Args:
        text: Text of the file.
        system: Name and version of the system.
        why: Reason for it.
        others: Other systems that could serve the model here.
    """

    text: str
    system: str
    why: str
    others: tuple[str, ...]


def stem_of(card: ModelCard, options: Options) -> str:
    """Return the name of the study of a model, of which the file's is made.

    Options that make another study of it are part of the name.
    """
    title = card.title.rpartition("/")[2]
    if card.form == GGUF:
        title = re.sub(r"(-00001-of-\d{5})?\.gguf$", "", title)
        if card.choice:
            title = title.replace(card.choice, "").strip("-._") or "model"
    more = [options.system, options.workload, "" if options.goal == Request.goal else options.goal]
    base = study_name(title)[:_LONGEST_STEM].rstrip("-._") or "model"
    return "-".join([base, *filter(None, more)])


def start(
    card: ModelCard, options: Options, machine: Machine, *, name: str, file: str, model: str
) -> Starter:
    """Return the study file of a model.

    Args:
        card: The model.
        options: Wishes of the user.
        machine: The machine that it is for.
        name: Name of the study.
        file: Name of the file, for the commands that it shows.
        model: The model as the user wrote it.

    Raises:
        SpecError: Something that the user says is wrong.
        EnvironmentProblem: Nothing on the machine can serve the model.
    """
    options.check()
    load = load_named(options.workload).fitted(card.context)
    choice = choose(card, machine, load, options, options.system)
    plan = choice.proposal
    command = shlex.join(["autotune", "init", model, *options.words()])
    draft = Draft(name, command, shlex.quote(file), choice, aim(plan), spending(plan, options.budget))
    return Starter(study_text(draft), plan.installed.title, choice.why, tuple(choice.others))


def card_and_machine(model: str, options: Options) -> tuple[ModelCard, Machine]:
    """Return the card of a model and what this machine has.

    Raises:
        SpecError: Something that the user says is wrong.
        EnvironmentProblem: The model or the program is not here.
    """
    options.check()
    return find_model(model, options.system), look(options.program, options.system)
