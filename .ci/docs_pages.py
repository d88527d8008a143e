"""Write the pages of docs/ that follow from the code: ``python .ci/docs_pages.py [--check]``.

What a study file may say is read from the classes that read it, the catalogue from its files, the Python
reference from the public names, the examples from their own first words.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from pathlib import Path

import click
import yaml

import autotune
from autotune.cli.app import cli
from autotune.core.deadlines import Deadlines
from autotune.core.kinds import By, Choice, Flag, Kind, Number, Share, Text, Texts, Whole
from autotune.core.metric import METRICS
from autotune.core.parameter import PARAMETER_TYPES
from autotune.core.section import Declared, Section, declared_fields
from autotune.engine.gp.config import ACQUISITIONS, OPTIONS, REGIONS, SURROGATES, GPConfig
from autotune.engine.registry import ENGINES
from autotune.measure.quality.section import Quality
from autotune.measure.workload import Workload
from autotune.spec import catalogue
from autotune.spec.hooks import Hook, Hooks
from autotune.spec.sections import Budget, Resources, Tracking
from autotune.study.study_file import KEYS
from autotune.systems.registry import SYSTEMS

ROOT = Path(__file__).resolve().parents[1]
MADE = "<!-- written by .ci/docs_pages.py: change the code that it reads, then run `make docs` -->\n"

ABOUT = {
    "name": "Name of the study and of its experiment in MLflow: letters, digits, `.`, `_`, `-`.",
    "description": "One line for people.",
    "space": "A name of the [catalogue](catalogue.md) or a path to start from; or `{table: FILE}`.",
    "parameters": "[Parameters](#a-parameter) by name; they narrow, replace or add to those of the space.",
    "constraints": "Expressions over the parameters that must hold; known before anything is measured.",
    "derived": "Expressions by name, usable in constraints and in the system.",
    "configurations": "A list of the only allowed configurations, in place of all combinations.",
    "start": "Configurations measured first, after the default; what one leaves out takes its default.",
    "system": "[What is tuned](#system).",
    "workload": "[The load](#workload) that it is measured under.",
    "quality": "[How answers are checked](#quality).",
    "objective": "A name of the [catalogue](catalogue.md), or [goals and limits](#objective).",
    "budget": "[What may be spent](#budget).",
    "resources": "[What a configuration needs](#resources) of a machine or a cluster.",
    "engine": "[The engine](#engine) that searches.",
    "tracking": "[MLflow](#tracking).",
    "deadlines": "[Bounds on each phase](#deadlines) of an attempt.",
    "on": "[Who is told](#on) of trials and of the end ([hooks](hooks.md)).",
}
OBJECTIVE = (
    ("maximize, minimize", "a metric, or a list", "", "The goals; several make a Pareto front."),
    (
        "limits",
        "a list of texts",
        "none",
        "`METRIC <= VALUE UNIT`, `>=`, or `<= 1.02 x default`, `>= 95 % of default`.",
    ),
    (
        "confidence",
        "a share",
        "95 %",
        "Probability with which a recommended configuration keeps every limit.",
    ),
)
GROUPS = {
    "Search": ("tune", "Study", "StudyResult", "Trial", "StopStudy"),
    "What may vary": (
        "Space",
        "load_space",
        "Int",
        "Float",
        "Bool",
        "Ordinal",
        "Categorical",
        "Prior",
        "Config",
    ),
    "What is wanted": ("Objective", "load_objective"),
    "What is measured": ("Estimate", "Measurement", "Failure", "Cause", "Infeasible"),
    "Errors": ("AutotuneError", "SpecError"),
}
"""Headings of the Python reference; a public name that none of them has comes under "More"."""


def described(kind: Kind) -> str:
    """Return what a kind of value reads, as a phrase."""
    match kind:
        case Number():
            what = {"s": "a duration, such as `90 s`", None: "a number"}.get(
                kind.unit, f"a number in {kind.unit}"
            )
            return f"{what}, above {kind.above:g}" if kind.above is not None else what
        case Share():
            return "a share, such as `5 %`"
        case Whole():
            most = f"from {kind.least} to {kind.most}" if kind.most else f"of at least {kind.least}"
            return f"a whole number {most}{f', or `{kind.word}`' if kind.word else ''}"
        case Choice():
            return ", ".join(f"`{word}`" for word in kind.allowed)
        case Flag():
            return "`true` or `false`"
        case Text() | Texts():
            return kind.what
        case By(section=section) if section is not None:
            keys = (f"`{item.key}` ({described(item.kind)})" for item in declared_fields(section))
            return f"a mapping of {', '.join(keys)}"
        case By() if kind.what:
            return kind.what
    raise TypeError(f"{kind} needs words for the documentation")


def default_of(item: Declared, owner: type[Section]) -> str:
    """Return what holds where a key is left out."""
    if item.needed or item.needs:
        return "**needed**"
    made = item.field.default_factory
    value = item.field.default if made is MISSING else made()
    if isinstance(item.kind, Share):
        return f"{100 * value:g} %"
    if isinstance(item.kind, Number) and value is not None:
        return f"{value:g} {item.kind.unit or ''}".strip()
    if isinstance(item.kind, Flag):
        return str(value).lower()
    written = item.kind.write(value)
    if isinstance(written, dict):
        written = ", ".join(f"{key}: {part}" for key, part in written.items())
    return "" if written in (None, "", (), []) else f"`{written}`"


def arguments(kind: type) -> dict[str, str]:
    """Return what the docstrings of a class and of its bases say of each field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__doc__ or "").partition("Args:\n")[2]
        for name, words in re.findall(r"^    (\w+): (.*(?:\n     .*)*)", text, re.MULTILINE):
            found[name] = plain(" ".join(words.split()))
    return found


def plain(text: str) -> str:
    """Return a docstring's text as Markdown: roles and double quotes of code become code."""
    text = re.sub(r":\w+:`~?\.?([^`]+)`", lambda m: f"`{m[1].rpartition('.')[2]}`", text)
    text = re.sub(r" \(`(?:steady_state|trace|prompts)`\)", "", text)
    text = re.sub(r"One of `[A-Z]+`", "One of the names below", text)
    return text.replace("``None``", "left out").replace("``", "`")


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    lines = [tuple(heads)]
    lines += [("---",) * len(lines[0]), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def keys_of(kind: type[Section], only: Iterable[str] | None = None) -> str:
    """Return the table of a section's keys."""
    words = arguments(kind)
    rows = [
        (
            f"`{item.key}`",
            described(item.kind),
            default_of(item, kind),
            words.get(item.field.name) or words.get(item.key, ""),
        )
        for item in declared_fields(kind)
        if only is None or item.key in only
    ]
    return table(("key", "value", "default", "meaning"), rows)


def parameters() -> str:
    """Return the keys of each type of parameter."""
    rows: dict[str, tuple[list[str], str]] = {}
    for name, kind in PARAMETER_TYPES.items():
        words = arguments(kind)
        for item in fields(kind):
            if item.init and item.name != "name":
                rows.setdefault(item.name, ([], words.get(item.name, "")))[0].append(name)
    every = list(PARAMETER_TYPES)
    types = f"one of {', '.join(f'`{name}`' for name in every)}"
    lines = [("`type`", "all", types.capitalize() + ".")]
    lines += [
        (f"`{key}`", "all" if owners == every else ", ".join(owners), text)
        for key, (owners, text) in rows.items()
    ]
    return table(("key", "of", "meaning"), lines)


def systems() -> str:
    """Return the keys of every system; those that read the same keys share a table."""
    groups: dict[str, list[str]] = {}
    for name in SYSTEMS.builtin:
        groups.setdefault(keys_of(SYSTEMS.load(name)), []).append(name)
    parts = [f"#### {', '.join(names)}\n\n{text}" for text, names in groups.items()]
    return "\n".join(parts)


def study_file() -> str:
    """Return the page on what a study file may say."""
    top = table(("key", "meaning"), ((f"`{key}`", ABOUT[key]) for key in KEYS))
    builtin = ", ".join(f"`{name}`" for name in ENGINES.builtin)
    named = {"surrogate": SURROGATES, "acquisition": ACQUISITIONS, "trust_region": REGIONS}
    names = "\n".join(f"- `{key}`: {', '.join(f'`{n}`' for n in found)}" for key, found in named.items())
    sections: tuple[tuple[str, str], ...] = (
        ("workload", keys_of(Workload)),
        (
            "quality",
            "Without this section nothing is checked; `quality: {}` checks with the defaults.\n\n"
            + keys_of(Quality),
        ),
        (
            "objective",
            table(("key", "value", "default", "meaning"), ((f"`{k}`", *rest) for k, *rest in OBJECTIVE)),
        ),
        ("budget", keys_of(Budget)),
        ("resources", keys_of(Resources)),
        (
            "engine",
            f"A name, or a mapping with `use` ({builtin}), `seed` (0) and, of `gp`:\n\n"
            f"{keys_of(GPConfig, OPTIONS)}\nNames:\n\n{names}\n",
        ),
        ("tracking", keys_of(Tracking)),
        ("deadlines", keys_of(Deadlines)),
        (
            "on",
            f"{keys_of(Hooks)}\nA mapping among them has one of `url`, `url_variable` and `call`:\n\n"
            + keys_of(Hook),
        ),
    )
    body = "\n".join(f"## {name}\n\n{text}" for name, text in sections)
    return f"""{MADE}
# The study file

One YAML file says what may vary, what is tuned, under which load, and what is wanted. `parameters` (or a
`space`) and a `name` are needed; all else has a default. This page is made from the code that reads the file.
Prose, examples and the less obvious rules are in [search spaces](../search_spaces/README.md).

Every key can be set from the command line: `--set budget.trials=30`. Values have units (`500 ms`, `2 h`,
`4 GiB`, `5 %`). An unknown key is refused with its line and the nearest known one. `autotune check FILE`
reads the file and launches nothing.

## Keys

{top}
## A parameter

{parameters()}
## system

`use` names it; `reuse: true` lets trials that differ in their requests only share one launch.

{systems()}
{body}
Next: [the catalogue](catalogue.md) of spaces, objectives and metrics to start from.
"""


def catalogue_page() -> str:
    """Return the page on what ships: spaces, objectives, metrics."""
    spaces = []
    for name in catalogue.names("search_spaces"):
        data = yaml.safe_load(catalogue.find("search_spaces", name).read_text(encoding="utf-8"))
        system = data.get("system", {}).get("use", "your own")
        names = ", ".join(f"`{key}`" for key in data["parameters"])
        spaces.append((f"`{name}`", system, data["description"], names))
    goals = []
    for name in catalogue.names("objectives"):
        data = yaml.safe_load(catalogue.find("objectives", name).read_text(encoding="utf-8"))
        wanted = "; ".join(f"{key} `{data[key]}`" for key in ("maximize", "minimize") if key in data)
        goals.append(
            (
                f"`{name}`",
                wanted,
                ", ".join(f"`{limit}`" for limit in data.get("limits", ())),
                data["description"],
            )
        )
    metrics = [
        (
            " ".join(f"`{name}`" for name in (info.name, *(f".{suffix}" for suffix in info.statistics))),
            info.unit,
            "more" if info.direction == "maximize" else "less",
            info.description,
        )
        for info in METRICS.values()
    ]
    return f"""{MADE}
# The catalogue

What a study may start from by name. `autotune list` prints the same. `autotune flags vllm` prints every flag
of a server: a study may vary those that no space lists, too.

## Search spaces

`space: NAME` in a study file. Each parameter has a line in the space's file that says what it trades
([search_spaces](../search_spaces/README.md)).

{table(("space", "system", "what", "parameters"), spaces)}
## Objectives

`objective: NAME`, or write it out.

{table(("objective", "goals", "limits", "what"), goals)}
## Metrics

Names for goals and limits. Formulas, and what is done where a server does not tell:
[objectives](../objectives/README.md). A metric of your own program or function may have any other name.

{table(("metric", "unit", "better", "what"), metrics)}
Next: write a [study file](study-file.md) that starts from one of them, or see
[the first study](first/index.md).
"""


def header(path: Path) -> str:
    """Return what an example says of itself first: its docstring, or its leading comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(text)) or ""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def examples() -> str:
    """Return the page that shows every example as it stands in the repository."""
    parts = []
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix in (".yaml", ".py"):
            code = path.read_text(encoding="utf-8").strip()
            language = "yaml" if path.suffix == ".yaml" else "python"
            first = re.split(r"(?<=[.:])\s", plain(" ".join(header(path).split())), maxsplit=1)[0]
            mark = f"<!-- shown: examples/{path.name} -->"
            parts.append(f"## {path.name}\n\n{first}\n\n{mark}\n```{language}\n{code}\n```\n")
    return f"""{MADE}
# Examples

Files of [examples](../examples), each run by the tests. Run a study file with
`autotune run examples/NAME.yaml --local`, a program with `python examples/NAME.py`.

{chr(10).join(parts)}
Next: [the study file](study-file.md), key by key, or the [Python reference](../autotune/__init__.py).
"""


def reference() -> str:
    """Return the page of the Python interface: every public name, rendered by mkdocstrings."""
    known = [name for names in GROUPS.values() for name in names]
    more = tuple(n for n in autotune.__all__ if n not in known and n != "__version__")
    groups = {**GROUPS, **({"More": more} if more else {})}
    parts = []
    for title, names in groups.items():
        items = [f"::: {home_of(name)}.{name}\n{less_of(name)}" for name in names]
        parts.append(f"## {title}\n\n{chr(10).join(items)}")
    plot = figures()
    return f"""{MADE}
# Python reference

`import autotune` loads nothing heavy: each name loads on first use. A study in Python and one from a file are
the same thing: the same ledger, the same engine, the same rules.

```python
import autotune

space = autotune.Space([autotune.Int("batch_size", 1, 64, powers_of=2)])
study = autotune.tune(
    space,
    lambda config: {{"speed": config["batch_size"] ** 0.5}},
    {{"maximize": "speed"}},
    trials=5,
)
assert study.result.config == {{"batch_size": 64}}
```

{chr(10).join(parts)}
{plot}
Next: [a Python function as the system](first/function.md), or the [examples](../examples).
"""


def home_of(name: str) -> str:
    """Return the module that has a public name."""
    return next(module for module, names in autotune._HOMES.items() if name in names)


def less_of(name: str) -> str:
    """Return options that leave out the methods of a study by which the package itself runs one."""
    if name != "Study":
        return ""
    own = "_attempt$|^requeue|^put_back|^reopen|^abandon|^keep_|^checked$|^in_units$|^suggest$|^anchored$"
    own += "|^driven$"
    return f'    options:\n      filters: ["!^_", "!^to_dict$", "!^from_dict$", "!{own}"]\n'


def figures() -> str:
    """Return the part on ``autotune.plot``, once it has public names."""
    from autotune import plot

    names = [name for name in getattr(plot, "__all__", ()) if callable(getattr(plot, name))]
    if not names:
        return ""
    items = "\n".join(f"::: {getattr(plot, name).__module__}.{name}\n" for name in names)
    return f"## Figures: autotune.plot\n\n{items}"


def option_row(option: click.Option) -> tuple[str, str]:
    """Return an option of a command and what it means; the same with every version of click."""
    names = ", ".join((*option.opts, *option.secondary_opts))
    word = option.metavar or ""
    if not word and not option.is_flag:
        kinds = {click.Path: "PATH", click.IntRange: "NUMBER", click.FloatRange: "NUMBER"}
        choices = getattr(option.type, "choices", ())
        word = "|".join(map(str, choices)) if choices else kinds.get(type(option.type), "TEXT")
    shown = option.show_default and option.default not in (None, False, ())
    default = f" (default {option.default})" if shown and not callable(option.default) else ""
    about = re.sub(r"\.?  \[(default): (.*)\]$", r" (\1 \2)", option.help or "").removesuffix(".")
    return f"`{f'{names} {word}'.strip()}`", f"{about}{default}."


def commands() -> str:
    """Return the page of the command line: every command with its options."""
    parts = []
    with cli.make_context("autotune", ["version"]) as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            assert command is not None
            words = ["autotune", name]
            rows = []
            for one in command.params:
                if isinstance(one, click.Option):
                    rows += [] if one.hidden else [option_row(one)]
                    continue
                word = one.metavar or one.human_readable_name.upper()
                more = "..." if one.nargs != 1 and "..." not in word else ""
                words.append(f"{word}{more}" if one.required else f"[{word}]{more}")
            about = inspect.cleandoc(command.help or "").replace("\b\n", "")
            code = about.split("`")
            code[::2] = [re.sub(r"(?<![\w-])(--[a-z][\w-]*)", r"`\1`", text) for text in code[::2]]
            about = "`".join(code)
            options = f"\n{table(('option', 'meaning'), rows)}" if rows else ""
            parts.append(f"## {name}\n\n`{' '.join(words)}`\n\n{about}\n{options}")
    return f"""{MADE}
# Commands

Every command with its options, as its `--help` tells them. What each is for is in the guides.

{chr(10).join(parts)}
Next: [the study file](study-file.md), key by key.
"""


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "study-file.md": study_file,
    "catalogue.md": catalogue_page,
}
"""Pages that lie in docs/, for those who read them there."""

BUILT: dict[str, Callable[[], str]] = {"examples.md": examples, "reference.md": reference}
"""Pages of the site alone: in the repository one reads the files themselves."""


def main(check: bool) -> int:
    """Write the pages that are not current, or name them."""
    stale = []
    for name, made in PAGES.items():
        path, text = ROOT / "docs" / name, made()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    print(f"not current: {', '.join(stale)}" if stale else "all pages are current")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
