"""Write a proposal as a study file that a person reads: every line with its reason."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from autotune.convert.entries import flow_text
from autotune.convert.names import printable
from autotune.core.units import counted
from autotune.init.choose import Choice
from autotune.init.goals import Aim, Spending
from autotune.init.proposal import Proposal, Row

_WIDTH = 100


@dataclass(frozen=True)
class Draft:
    """The contents that a study file is written from.

    Args:
        name: Name of the study.
        command: Command that writes it, as a person types it.
        file: Name of the file, for the next commands.
        choice: System and search space.
        aim: Goal and limits.
        spending: Budget.
    """

    name: str
    command: str
    file: str
    choice: Choice
    aim: Aim
    spending: Spending

    @property
    def plan(self) -> Proposal:
        """Proposal for the system that was chosen."""
        return self.choice.proposal


def study_text(draft: Draft) -> str:
    """Return the text of the study file."""
    blocks = [
        _head(draft),
        [f"name: {flow_text(draft.name)}"],
        _parameters(draft),
        _constraints(draft),
        _system(draft),
        [] if draft.plan.planned else _workload(draft),
        _objective(draft),
        _budget(draft),
        _foot(draft),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _comment(text: str, indent: str = "") -> list[str]:
    """Return a text as lines of a comment, whatever characters it holds."""
    return [f"{indent}# {line}" for line in _wrapped(text, _WIDTH - len(indent) - 2)]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(printable(text), width, break_long_words=False, break_on_hyphens=False)


def _row(key: str, text: str) -> list[str]:
    """Return a line of the head: a word, and text that is indented below it."""
    lines = _wrapped(text, _WIDTH - 14)
    return [f"# {key if i == 0 else '':<11} {line}" for i, line in enumerate(lines)]


def _head(draft: Draft) -> list[str]:
    choice, fit, title = draft.choice, draft.plan.fit, draft.plan.installed.title
    others = "; ".join(f"{name} {said}" for name, said in choice.others.items())
    missing = "; ".join(f"{', '.join(names)}: {said}" for said, names in _by_reason(choice.missing).items())
    return [
        *_comment(f"{fit.card.title} with {title}, {fit.load.name}."),
        "#",
        *_row("model", f"{fit.card}" or fit.card.form),
        *[line for note in fit.card.notes for line in _row("", note)],
        *_row("machine", str(fit.machine)),
        *_row("system", f"{title}: {choice.why}"),
        *_row("instead", others),
        *_row("not here", missing),
        f"# {'written by':<11} {printable(draft.command)}",
        *_row("next", f"autotune check {draft.file}: shows the commands that it would launch"),
        *_row("", f"autotune run {draft.file}: tunes"),
        "#",
        *_comment("Every line is yours to change."),
    ]


def _by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the systems of each reason."""
    found: dict[str, list[str]] = {}
    for name, said in missing.items():
        found.setdefault(said.removeprefix(f"{name} is ").removeprefix(f"{name} "), []).append(name)
    return found


def _parameters(draft: Draft) -> list[str]:
    plan = draft.plan
    lines = ["parameters:", *"\n\n".join("\n".join(_parameter(row)) for row in plan.rows).split("\n")]
    if plan.left:
        lines += ["", f"  # Left to {plan.installed.system}:"]
        for names, reason in plan.left:
            text = _wrapped(f"{names}: {reason}", _WIDTH - 8)
            lines += [f"  #   {line}" if i == 0 else f"  #     {line}" for i, line in enumerate(text)]
    return lines


def _parameter(row: Row) -> Iterator[str]:
    yield from _comment(row.trades, "  ")
    yield from _comment(f"here: {row.reason}", "  ")
    entry = flow_text({key: value for key, value in row.entry.items() if key != "restart"})
    if len(row.name) + len(entry) + 4 <= _WIDTH:
        yield f"  {row.name}: {entry}"
        return
    yield f"  {row.name}:"
    # a line break in a flow is a space again when it is read, within quotes too
    lines = textwrap.wrap(entry, _WIDTH - 5, break_long_words=False, break_on_hyphens=False)
    yield from (f"    {line}" if i == 0 else f"     {line}" for i, line in enumerate(lines))


def _constraints(draft: Draft) -> list[str]:
    found = [_with_reason(f"  - {flow_text(text)}", why) for text, why in draft.plan.constraints]
    derived = [_with_reason(f"  {name}: {text}", why) for name, text, why in draft.plan.derived]
    lines = ["constraints:", *found] if found else []
    return [*lines, *([""] if lines else []), "derived:", *derived] if derived else lines


def _with_reason(line: str, reason: str) -> str:
    """Return a line with its reason behind it, or above it where both are too long together."""
    reason = printable(reason)
    if not reason:
        return line
    if len(line) + len(reason) + 4 <= _WIDTH:
        return f"{line}{' ' * max(2, 34 - len(line))}# {reason}"
    indent = " " * (len(line) - len(line.lstrip()))
    return "\n".join([*_comment(reason, indent), line])


def _system(draft: Draft) -> list[str]:
    plan = draft.plan
    program = list(plan.installed.program)
    entries = [
        ("use", plan.installed.system),
        ("model", plan.fit.card.model),
        ("draft_model", plan.request.draft_model),
        ("program", program[0] if len(program) == 1 else program),
    ]
    lines = ["system:", *_entries([(key, value, "") for key, value in entries if value], "  ")]
    for key, items in (("flags", plan.flags), ("env", plan.env)):
        lines += [f"  {key}:", *_entries(items, "    ")] if items else []
    return lines


def _entries(entries: Iterable[tuple[str, object, str]], indent: str) -> list[str]:
    """Return keys and values with their reasons, a line each."""
    return [_with_reason(f"{indent}{key}: {flow_text(value)}", why) for key, value, why in entries]


def _workload(draft: Draft) -> list[str]:
    load, request = draft.plan.fit.load, draft.plan.request
    entries: list[tuple[str, object, str]] = []
    if draft.plan.served and request.concurrency:
        why = "requests under way at once: an assumption, write down what yours are"
        entries += [("arrival", "concurrency", ""), ("concurrency", request.concurrency, why)]
    elif draft.plan.served:
        entries.append(("arrival", "poisson", "people do not wait for each other"))
        entries.append(("rate", {"search": "max"}, "the highest that keeps the limits"))
    elif request.goal == "goodput":
        ttft = {"ttft": f"{load.ttft:g} s"} if load.ttft else {}
        entries.append(("goodput", {**ttft, "tpot": "100 ms"}, ""))
    for key, (mean, spread) in (("prompt_tokens", load.prompt), ("output_tokens", load.output)):
        entries.append((key, {"mean": mean, "spread": spread}, ""))
    if draft.plan.served and load.shared:
        shared = {"tokens": load.shared, "share": "100 %", "groups": 1}
        entries.append(("shared_prefix", shared, "instructions before each question"))
    why = "timed part of a trial at most; less where 5 % is reached"
    entries.append(("time", f"{draft.spending.timed} s", why))
    return [*_comment(f"{load.name}: {load.source}."), "workload:", *_entries(entries, "  ")]


def _objective(draft: Draft) -> list[str]:
    aim = draft.aim
    lines = []
    if aim.quality and not draft.plan.planned:
        lines += [_with_reason("quality: {prompts: 16}", "answers that are compared with the default's"), ""]
    lines.append("objective:")
    lines += [f"  {direction}: {flow_text(value)}" for direction, value in aim.goals.items()]
    if aim.limits and not draft.plan.planned:
        lines.append("  limits:")
        lines += [_with_reason(f"    - {flow_text(limit.value)}", limit.reason) for limit in aim.limits]
    return lines


def _budget(draft: Draft) -> list[str]:
    plan, spending = draft.plan, draft.spending
    lines = _comment(f"{counted(plan.space.count(), 'configuration')}; {spending.reason}.")
    lines.append(f"budget: {flow_text({'trials': spending.trials, 'time': spending.time})}")
    resources: dict[str, object] = dict(plan.resources)
    if plan.request.goal == "cost":
        resources["price"] = resources.get("gpus", "1")
    if resources:
        plain = {key: int(str(text)) if str(text).isdigit() else text for key, text in resources.items()}
        lines += ["", f"resources: {flow_text(plain)}"]
        if "price" in resources:
            lines += _comment(
                "price: of an hour of all that a trial occupies; a factor in front changes no order"
            )
    return lines


def _foot(draft: Draft) -> list[str]:
    if draft.plan.planned:
        return _comment(
            f"{draft.plan.installed.system} is planned only: `autotune check` shows its commands, "
            "nothing is measured."
        )
    return _comment(
        f"To deploy: `autotune best {draft.name}` prints the winner's command, what clients send, and how "
        "sure it is. Measure with lengths and prompts of your own (`workload.prompts`) before you trust a "
        f"number for your users; after an upgrade of {draft.plan.installed.system}, run it again."
    )
