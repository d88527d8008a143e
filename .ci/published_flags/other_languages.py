"""Flags of servers that are not written in Python: llama.cpp's ``common/arg.cpp``, Ollama's ``envconfig``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from autotune.systems.served.drift import llama_cpp_flag, ollama_flags
from published_flags.python_source import SourceFlag

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NUMBERS = re.compile(r"N|P|M|SECONDS|INDEX|L|<\d+\.\.\.\d+>")


def llama_cpp(root: Path) -> dict[str, SourceFlag]:
    """Return the flags of ``llama-server`` from llama.cpp's sources."""
    text = next(root.glob("**/common/arg.cpp")).read_text(encoding="utf-8")
    flags = {}
    for arguments, after in _options(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)):
        programs = re.search(r"set_examples\(\{([^}]*)\}", after)
        excluded = re.search(r"set_excludes\(\{([^}]*)\}", after)
        if programs is not None and not re.search(r"EXAMPLE_(SERVER|COMMON)\b", programs.group(1)):
            continue
        if excluded is not None and "EXAMPLE_SERVER" in excluded.group(1):
            continue
        if (found := _llama_cpp_flag(arguments)) is not None:
            flags[found.flag.name] = found
    return flags


def _options(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield the arguments of each ``common_arg(...)`` that is added, and the calls behind it."""
    for start in re.finditer(r"add_opt\(\s*common_arg\(", text):
        arguments, end = _split(text, start.end())
        yield arguments, text[end : _split(text, end + 1)[1]]


def _split(text: str, at: int) -> tuple[list[str], int]:
    """Return what stands between commas up to the bracket that closes, and where that is."""
    parts, depth, start = [], 0, at
    while at < len(text):
        string = _STRING.match(text, at)
        if string is not None:
            at = string.end()
            continue
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            depth -= 1
            if depth < 0:
                break
        elif text[at] == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
        at += 1
    return [*parts, text[start:at].strip()], at


def _literal(text: str) -> str:
    """Return the text of string literals, side by side."""
    joined = "".join(_STRING.findall(text))
    return joined.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")


def _llama_cpp_flag(arguments: list[str]) -> SourceFlag | None:
    spellings = [part for part in arguments[:2] if part.startswith("{")]
    rest = arguments[len(spellings) :]
    last = (
        next((i for i, part in enumerate(rest) if part.startswith("[")), len(rest)) - 1
    )  # then what is done
    rest, values = rest[last:], [_literal(part) or "VALUE" for part in rest[:last]]
    value = " ".join(values)
    formatted = rest[0].startswith("string_format(")
    inner = _split(rest[0], len("string_format("))[0][0] if formatted else rest[0]
    text = _literal(inner)
    # what is filled in when the program runs: of a number only its kind is known
    shown = re.sub(r"%[\d.]*[a-z]*f", "0.0", re.sub(r"%[a-z]*[du]", "0", text)) if formatted else text
    head = ", ".join(_STRING.findall(", ".join(spellings))) + f" {value}"
    flag = llama_cpp_flag(head.strip(), shown.replace("%%", "%"))
    if flag is None:
        return None
    unknown = {"choices"} if "VALUE" in values else set()
    if "+" in inner or not inner.startswith('"') or "%" in text:
        unknown.add("default")
        if "allowed values:" in text or "+" in inner or not inner.startswith('"'):
            unknown.add("choices")
        if _NUMBERS.fullmatch(value) and shown == text:
            unknown.add("kind")
    return SourceFlag(flag, frozenset(unknown))


def ollama(root: Path) -> dict[str, SourceFlag]:
    """Return the variables that ``ollama serve --help`` prints, from ``envconfig/config.go``."""
    text = (root / "envconfig" / "config.go").read_text(encoding="utf-8")
    printed = text.partition("map[string]EnvVar{")[2].partition("\n\t}\n")[0]
    rows = re.findall(r'\{"(\w+)", .*?, "((?:[^"\\]|\\.)*)"\}', printed)
    listed = "".join(f"      {name}   {_literal(chr(34) + said + chr(34))}\n" for name, said in rows)
    # help says little of the values: the table has more, by hand
    unknown = frozenset({"kind", "default", "choices"})
    return {flag.name: SourceFlag(flag, unknown) for flag in ollama_flags(listed)}
