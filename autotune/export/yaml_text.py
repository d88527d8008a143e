"""Plain data as YAML that readers of YAML 1.1 and 1.2 alike take for what it is."""

from __future__ import annotations

from typing import Any

import yaml

WIDTH = 100  # columns of a line; what has no space is longer


class Word(str):
    """A word of a command or the value of a variable: quoted, so that no reader takes it for a number."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Dumper that indents lists and quotes words."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        """Indent a list below its key, as files of Docker and Kubernetes do."""
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Write what occurs twice twice: an anchor is no help to who reads it."""
        return True


def _word(dumper: _Dumper, word: Word) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(word), style='"')


_Dumper.add_representer(Word, _word)


def words(values: tuple[str, ...] | list[str]) -> list[Word]:
    """Return texts as quoted words."""
    return [Word(value) for value in values]


def yaml_text(*documents: object) -> str:
    """Return plain data as YAML, several documents one after another."""
    found = [
        yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
        for data in documents
    ]
    return "---\n".join(found)
