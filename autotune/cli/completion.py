"""Completion of a command line by bash, zsh and fish: commands, options, studies, trials, parameters.

The shells call the program with ``_AUTOTUNE_COMPLETE`` set. What it answers is read with the standard library
and the YAML reader: nothing that is slow to load. A parameter of a command is completed by its name
(:data:`COMPLETERS`), whichever command has it.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete

from autotune.cli.output import echo
from autotune.core.file_names import LEDGER_NAME, USUAL_STORE
from autotune.core.json_object import JsonObject
from autotune.errors import AutotuneError

VARIABLE = "_AUTOTUNE_COMPLETE"
"""Environment variable that a shell sets to its name where it asks for completions."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "budget": ("trials", "time", "parallel", "confirm", "watch", "stop_when"),
    "resources": ("cpus", "gpus", "stages", "price", "exclusive", "accelerator", "labels"),
    "tracking": ("mlflow", "experiment", "mirrors", "ledger_copy"),
    "workload": (
        "arrival", "prompt_tokens", "output_tokens", "requests", "precision", "min_batches", "time", "warmup",
        "seed", "goodput", "rate", "burstiness", "concurrency", "trace", "prompts", "shared_prefix", "turns",
        "generator", "max_error_rate",
    ),
    "deadlines": ("startup", "measure", "stop"),
    "quality": ("prompts", "tasks", "text", "scorer", "max_tokens", "agreement", "folder"),
    "engine": ("use", "seed"),
    "system": ("use", "model"),
    "objective": ("maximize", "minimize", "limits", "confidence"),
}  # fmt: skip
"""Keys of each section of a study file, as its reader has them, which takes too long to load for a key."""

CHOICES: dict[str, tuple[str, ...]] = {
    "goal": ("throughput", "latency", "latency_throughput", "goodput", "cost", "energy"),
    "workload": ("chat", "rag", "code", "batch"),
    "system": (
        "vllm", "sglang", "tensorrt_llm", "llama_cpp", "openvino", "transformers", "ollama", "onnxruntime",
        "triton",
    ),
}  # fmt: skip
"""Values of the options that say how a model's study file is made, likewise."""

_SCRIPTS = {
    "bash": r"""
_autotune_completion() {
    local kind value help
    COMPREPLY=()
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
            *) COMPREPLY+=("$value"); case $value in *=|*.) compopt -o nospace ;; esac ;;
        esac
    done < <(_AUTOTUNE_COMPLETE=bash COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" \
        COMP_BREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null)
}
complete -o nosort -F _autotune_completion autotune 2>/dev/null || complete -F _autotune_completion autotune
""",
    "zsh": r"""
#compdef autotune
_autotune_completion() {
    local line kind value help
    local -a plain shown open opened
    for line in "${(@f)$(_AUTOTUNE_COMPLETE=zsh "${words[1]}" "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        IFS=$'\t' read -r kind value help <<< "$line"
        case $kind in
            file) _files ;;
            dir) _files -/ ;;
            plain) case $value in
                *=|*.) open+=("$value"); opened+=("$value${help:+  -- $help}") ;;
                *) plain+=("$value"); shown+=("$value${help:+  -- $help}") ;;
            esac ;;
        esac
    done
    (( $#plain )) && compadd -l -V autotune -d shown -a plain
    (( $#open )) && compadd -l -S '' -V autotune-keys -d opened -a open
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _autotune_completion "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _autotune_completion autotune
fi
""",
    "fish": r"""
function _autotune_completion
    set -l words (commandline -opc)
    for line in (_AUTOTUNE_COMPLETE=fish $words[1] $words[2..] (commandline -ct) 2>/dev/null)
        set -l parts (string split \t -- $line)
        switch $parts[1]
            case file
                __fish_complete_path (commandline -ct)
            case dir
                __fish_complete_directories (commandline -ct)
            case plain
                printf '%s\t%s\n' $parts[2] $parts[3]
        end
    end
end
complete --no-files --command autotune --arguments '(_autotune_completion)'
""",
}

_LINES = {
    "bash": 'eval "$(autotune completion bash)"',
    "zsh": 'eval "$(autotune completion zsh)"',
    "fish": "autotune completion fish | source",
}


@click.command()
@click.argument("shell", type=click.Choice(tuple(_SCRIPTS)))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete commands.

    Also studies, trials, keys and parameters. The last line of the script says how ~/.bashrc, ~/.zshrc or
    ~/.config/fish/config.fish loads it.
    """
    echo(f"{_SCRIPTS[shell].strip()}\n# to load it in every shell: {_LINES[shell]}")


def answer(cli: click.Group, shell: str, words: Sequence[str]) -> int:
    """Print what may stand in the place of the last word: kind, value and help of each, in columns.

    Args:
        cli: The program's commands.
        shell: Name of the shell; bash gives the line in ``COMP_LINE``, others the words.
        words: Words behind the program's name, the one to complete last.
    """
    line = os.environ.get("COMP_LINE", "")
    if shell == "bash":
        line = line[: int(os.environ.get("COMP_POINT") or len(line))]
        words = _words(line)
    *before, last = words or [""]
    for item in completions(cli, before, last):
        value = str(item.value)
        if item.type == "plain" and shell == "bash":
            value = _for_bash(value, last, _open_quote(line))
        if value or item.type != "plain":
            help_text = " ".join((item.help or "").split())
            sys.stdout.write(f"{item.type}\t{value}\t{help_text}\n")
    return 0


def completions(cli: click.Group, before: Sequence[str], last: str) -> list[CompletionItem[Any]]:
    """Return what may stand in the place of a word.

    Args:
        cli: The program's commands.
        before: Words before it, behind the program's name.
        last: Beginning of the word.
    """
    place = next((i for i, word in enumerate(before) if not word.startswith("-")), len(before))
    command = cli.get_command(click.Context(cli), before[place]) if place < len(before) else None
    if command is not None:
        said = list(before[place + 1 :])
        if said and said[-1].startswith("-") and "=" not in said[-1]:
            said.pop()  # an option without its value: click would read nothing at all
        context = command.make_context(before[place], said, resilient_parsing=True)
        for parameter in command.params:
            if found := COMPLETERS.get(parameter.name or ""):
                complete = partial(_complete, found, context)
                parameter.shell_complete = complete  # type: ignore[method-assign]
    items = ShellComplete(cli, {}, "autotune", VARIABLE).get_completions(list(before), last)
    option, equals, _ = last.partition("=")
    if equals and option.startswith("-"):  # click completes the value alone, and a shell replaces the word
        for item in items:
            item.value = f"{option}={item.value}" if item.type == "plain" else item.value
    return items


def _complete(
    candidates: Callable[[click.Context, str], Iterable[str]],
    context: click.Context,
    _parsed: click.Context,
    beginning: str,
) -> list[CompletionItem[Any]]:
    try:
        found = dict.fromkeys(candidates(context, beginning))
    except (OSError, AutotuneError, sqlite3.Error, ValueError):  # a wrong file is told when the command runs
        return []
    # a name with a line break would be two words of a shell
    return [CompletionItem(value) for value in found if value.startswith(beginning) and value.isprintable()]


def _words(line: str) -> list[str]:
    """Return the words of a line behind the program's name; an open quote is closed."""
    for closing_quote in ("", '"', "'"):
        try:
            words = shlex.split(line + closing_quote)
            break
        except ValueError:
            continue
    else:
        return [""]
    between = line[-1:].isspace() and not words[-1].endswith(line[-1])  # neither quoted nor escaped
    return [*words[1:], ""] if between else words[1:]


def _open_quote(line: str) -> str:
    """Return the last word of a line from a quote that it has not closed on; empty without one."""
    quote, start, escaped = "", 0, False
    for i, mark in enumerate(line):
        if escaped:
            escaped = False
        elif mark == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote, start = mark, i
    return line[start:] if quote else ""


def _for_bash(value: str, last: str, quoted: str) -> str:
    """Return what bash is to put in the place of what it completes, for it inserts a text as it is.

    Args:
        value: The whole word.
        last: Beginning that is typed, without quotes.
        quoted: Beginning from an open quote on; bash completes what is behind that, and closes it.
    """
    if quoted:
        if not value.startswith(last) or len(quoted) - 1 < len(last):  # it does not begin the word
            return ""
        if quoted[0] == '"' and "!" in value:  # nothing quotes that there
            return ""
        mark = quoted[0]
        found = value.replace("'", "'\\''") if mark == "'" else re.sub(r'([$`"\\])', r"\\\1", value)
        return found + mark if found.endswith(mark) else found  # bash takes it for the closing one
    breaks = set(os.environ.get("COMP_BREAKS", "")) & set("=:@")
    start = max((last.rfind(mark) + (mark != "@") for mark in breaks), default=0)  # @ itself is completed
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", value[max(start, 0) :])


def _ledger(context: click.Context) -> sqlite3.Connection:
    """Open the ledger to read names: its own reader checks every row, and takes longer than a key press."""
    store = Path(context.params.get("store") or os.environ.get("AUTOTUNE_STORE") or USUAL_STORE)
    file = store if store.is_file() else store / LEDGER_NAME
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=0.2)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _studies(context: click.Context, _beginning: str) -> list[str]:
    with closing(_ledger(context)) as ledger:
        rows = ledger.execute("SELECT name FROM study ORDER BY created_ns DESC, name").fetchall()
    return [str(name) for (name,) in rows]


def _trials(context: click.Context, _beginning: str) -> list[str]:
    """Return the numbers of the measured trials of the study named, or of the only one."""
    names = [context.params["study"]] if context.params.get("study") else _studies(context, "")
    if len(names) != 1:
        return []
    with closing(_ledger(context)) as ledger:
        query = "SELECT number FROM trial WHERE study = ? AND state = 'COMPLETED' ORDER BY number"
        return [str(number) for (number,) in ledger.execute(query, names)]


def _parameters(context: click.Context) -> dict[str, JsonObject]:
    """Return the parameters of the command's study file, and of the search space that it starts from."""
    from autotune.spec.catalogue import find
    from autotune.spec.yaml_text import parse_text, read_text

    path = Path(str(context.params.get("file") or ""))
    data = parse_text(read_text(path), path.name).data
    found = dict(data.get("parameters") or {})
    if isinstance(data.get("space"), str):
        base = find("search_spaces", data["space"], beside=path.parent)
        inner = parse_text(read_text(base), base.name).data.get("parameters") or {}
        found = {
            name: {**dict(inner.get(name) or {}), **dict(found.get(name) or {})} for name in (*inner, *found)
        }
    return found


def _configuration(context: click.Context, beginning: str) -> list[str]:
    """Return ``NAME=`` of each parameter, or ``NAME=VALUE`` of the values that a listed one has."""
    name, equals, _ = beginning.partition("=")
    parameters = _parameters(context)
    if not equals:
        return [f"{known}=" for known in parameters]
    stated = parameters.get(name) or {}
    values = ["true", "false"] if stated.get("type") == "bool" else list(stated.get("values") or ())
    values += [stated[key] for key in ("default", "low", "high") if key in stated]
    return [f"{name}={value}" for value in values]


def _keys(context: click.Context, beginning: str) -> list[str]:
    """Return the keys that ``--set`` takes, a section at a time, or the names that a key's value may be."""
    key, equals, _ = beginning.partition("=")
    if equals:
        return [f"{key}={value}" for value in _names_for(key)]
    section, dot, _ = beginning.partition(".")
    if not dot:
        return [*(f"{name}." for name in SECTIONS), "parameters.", "name=", "space=", "objective=", "engine="]
    if section != "parameters":
        return [f"{section}.{name}=" for name in SECTIONS.get(section, ())]
    name, dot, _ = beginning.removeprefix("parameters.").partition(".")
    known = _parameters(context)
    if not dot:
        return [f"parameters.{one}." for one in known]
    keys = [*known.get(name, {}), "default", "low", "high", "values"]
    return [f"parameters.{name}.{one}=" for one in keys]


def _names_for(key: str) -> Iterable[str]:
    from autotune.spec.catalogue import names

    if key in ("space", "objective"):
        return names("search_spaces" if key == "space" else "objectives")
    if key in ("engine", "engine.use"):
        from autotune.engine.registry import ENGINES

        return ENGINES.names()
    if key == "system.use":
        from autotune.systems.registry import SYSTEMS

        return SYSTEMS.names()
    return ("budget", "converged") if key == "budget.stop_when" else ()


def _exporters(_context: click.Context, _beginning: str) -> list[str]:
    from autotune.export.registry import ALL_TRIALS, EXPORTERS

    return [*EXPORTERS.names(), ALL_TRIALS]


def _servers(_context: click.Context, _beginning: str) -> list[str]:
    tables = Path(__file__).resolve().parent.parent / "systems" / "served" / "tables"
    return sorted(path.stem for path in tables.glob("*.json"))


def _parts(_context: click.Context, _beginning: str) -> list[str]:
    from autotune.cli.new import PARTS

    return list(PARTS)


def _choices(option: str) -> Callable[[click.Context, str], Iterable[str]]:
    return lambda _context, _beginning: CHOICES[option]


COMPLETERS: dict[str, Callable[[click.Context, str], Iterable[str]]] = {
    "study": _studies,
    "studies": _studies,
    "named": _trials,
    "trial": _trials,
    "pairs": _configuration,
    "overrides": _keys,
    "server": _servers,
    "exporter": _exporters,
    "part": _parts,
    **{option: _choices(option) for option in CHOICES},
}
"""What completes a command's parameter, by the name that it has in the code."""
