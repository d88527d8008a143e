"""Ask an installed server for its flags and say what changed against the table that ships."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from autotune.core.endpoint import foreign_json
from autotune.core.parameter.base import read_number
from autotune.errors import EnvironmentProblem
from autotune.systems.programs import run_program
from autotune.systems.served.flags import Flag, FlagTable

PROBED = ("vllm", "sglang", "tensorrt_llm", "openvino", "onnxruntime", "triton", "transformers_serve")
"""Python packages: asked by ``probe.py`` in their own interpreter. The others print their flags."""

HELP = {"llama_cpp": (("--help",), ("--version",)), "ollama": (("serve", "--help"), ("--version",))}
"""Arguments that make a program print its flags, and its version."""

_TIMEOUT_S = 300.0  # importing a server takes a minute on a busy machine
_MARGIN = 40  # column at which llama-server's help texts start
_PROBE = Path(__file__).with_name("probe.py")


def installed(server: str, program: str) -> FlagTable:
    """Return the flags of an installed server.

    Args:
        server: One of :data:`PROBED` or :data:`HELP`.
        program: The Python interpreter that has the server, or the server's own program.

    Raises:
        EnvironmentProblem: It cannot be run, or the server is not there.
    """
    if server in PROBED:
        # the last line: servers greet on standard output while they are imported
        answer = _run([program, str(_PROBE), server]).strip().rpartition("\n")[2]
        try:
            return FlagTable.from_dict(foreign_json(answer))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise EnvironmentProblem(f"{program} did not print the flags of {server}: {error}") from None
    words, version_words = HELP[server]
    text, version = _run([program, *words]), _run([program, *version_words])
    found = re.search(r"\d+[\w.+-]*(?: \(\w[^)]*\))?", version)
    flags = llama_cpp_flags(text) if server == "llama_cpp" else ollama_flags(text)
    if not flags:
        raise EnvironmentProblem(f"`{program} {' '.join(words)}` printed no flags that are understood")
    source = f"`{Path(program).name} {' '.join(words)}`"
    return FlagTable(server, found.group() if found else "unknown", source, {f.name: f for f in flags})


def _run(argv: list[str]) -> str:
    try:
        code, printed, errors = run_program(argv, _TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(f"cannot run {argv[0]}: {error}") from None
    if code:
        last = errors.strip().rpartition("\n")[2]
        raise EnvironmentProblem(f"`{' '.join(argv)}` ended with {code}: {last}")
    return printed or errors


def llama_cpp_flags(text: str) -> list[Flag]:
    """Return the flags of ``llama-server --help``.

    An entry starts at the margin with its spellings and a word for its value; its help is indented.
    """
    entries: list[list[str]] = []
    for line in text.splitlines():
        if re.match(r"-{1,2}[A-Za-z]", line):
            fits = (
                len(line) > _MARGIN and line[_MARGIN - 1] == " "
            )  # long spellings push the help down a line
            head, rest = (line[:_MARGIN], line[_MARGIN:]) if fits else (line, "")
            entries.append([head.strip(), rest.strip()])
        elif entries and line.startswith(" "):
            entries[-1][1] += " " + line.strip()
    return [flag for head, help_text in entries if (flag := llama_cpp_flag(head, help_text)) is not None]


def llama_cpp_flag(head: str, text: str) -> Flag | None:
    """Return the flag of one entry: its spellings with a word for its value, and its help."""
    match = re.match(r"((?:-{1,2}[\w-]+,?\s*)+)(.*)", head)
    if match is None or "has been removed" in text:
        return None
    spellings, value = re.findall(r"(?<![\w-])--[\w-]+", match.group(1)), match.group(2).strip()
    positive = [s for s in spellings if not s.startswith("--no-")]
    if not positive:
        return None
    # names are kept by the newer, first long spelling; aliases stay findable through the server
    flag, negative = positive[0], len(positive) < len(spellings)
    default = _llama_cpp_default(text)
    choices = _listed(value)
    if choices is None and "allowed values:" in text:
        choices = tuple(re.split(r",\s*", text.partition("allowed values:")[2].partition("(")[0].strip()))
    if choices is None:
        bullets = re.findall(r"(?:^|\s)- ([\w+-]+)(?: \(default\))?:", text)
        choices = tuple(bullets) if bullets and not negative else None
    number = isinstance(default, int | float) and not isinstance(default, bool)
    if not value:
        kind = "toggle" if negative else "switch"
        default = default if isinstance(default, bool) else False
    elif choices is None and number and re.fullmatch(r"N|P|M|SECONDS|INDEX|L|<\d+\.\.\.\d+>", value):
        kind = "float" if isinstance(default, float) else "int"
    else:
        kind = "int" if choices is None and value == "N" else "text"
        default = str(default) if number and kind == "text" else default
    return Flag(flag.removeprefix("--").replace("-", "_"), flag, kind, default, choices, _sentence(text))


def _listed(value: str) -> tuple[str, ...] | None:
    """Return the choices of a value's word: ``{a,b}``, ``[on|off]``, ``<0|1>``, ``a,b,c``."""
    inner = re.fullmatch(r"[{\[<]([\w+-]+(?:[|,][\w+-]+)+)[}\]>]", value)
    bare = re.fullmatch(r"([a-z][\w-]*(?:,[a-z][\w-]*)+)", value)
    found = inner or bare
    return tuple(re.split(r"[|,]", found.group(1))) if found else None


def _llama_cpp_default(text: str) -> int | float | bool | str | None:
    match = re.search(r"\bdefault: '?\"?([\w.+-]+)'?\"?[,;)\s]", text)
    if match is None:
        return None
    word = match.group(1)
    truth = {"enabled": True, "true": True, "disabled": False, "false": False}.get(word)
    number = read_number(word)
    if truth is not None:
        return truth
    if number is not None:
        return number
    return None if word in ("same", "unused", "unset", "none") or "default: same as" in text else word


def ollama_flags(text: str) -> list[Flag]:
    """Return the environment variables that ``ollama serve --help`` lists."""
    found = []
    for name, said in re.findall(r"^[ \t]+((?:OLLAMA|LLAMA)_\w+)[ \t]+(\S.*)$", text, re.MULTILINE):
        match = re.search(r"\(default:? \"?([^\")]+)\"?\)", said)
        default = read_number(match.group(1)) if match else None
        kind = "toggle" if re.match(r"(Enable|Do not|Always|Disable)", said) else "text"
        if re.match(r"(Maximum|Context length|Reserve|Target)", said):
            kind = "int"
        plain = default if default is not None or match is None or kind == "int" else match.group(1)
        found.append(Flag(name.lower(), name, kind, plain, None, _sentence(said)))
    return found


def _sentence(text: str) -> str:
    return " ".join(text.split()).split(". ")[0][:160]


def drift(shipped: FlagTable, found: FlagTable) -> list[str]:
    """Return what changed from the shipped table to an installed server, a line each."""
    lines = []
    for name in sorted(shipped.flags.keys() | found.flags.keys()):
        old, new = shipped.flags.get(name), found.flags.get(name)
        if old is None and new is not None:
            lines.append(f"{name}: new, {new.flag}, {new.kind}, default {new.default!r}")
        elif new is None and old is not None:
            lines.append(f"{name}: gone, was {old.flag}")
        elif old is not None and new is not None:
            for key in ("flag", "kind", "default", "choices"):
                before, after = getattr(old, key), getattr(new, key)
                if key == "choices" and sorted(before or ()) == sorted(after or ()):
                    continue  # some servers keep them in a set, in another order each time
                if before != after:
                    lines.append(f"{name}: {_changed(key, before, after)}")
    return lines


def _changed(key: str, before: object, after: object) -> str:
    if key == "choices" and isinstance(before, tuple) and isinstance(after, tuple):
        gained, lost = [c for c in after if c not in before], [c for c in before if c not in after]
        parts = [
            f"{said} {', '.join(listed)}" for said, listed in (("gained", gained), ("lost", lost)) if listed
        ]
        return f"choices {' and '.join(parts)}"
    return f"{key} {before!r} -> {after!r}"
