"""The ``quality`` section of a study file, and what of it travels to the node that measures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from autotune.core.endpoint import foreign_json
from autotune.core.input_file import read_text, resolved, why
from autotune.core.units import parse_quantity
from autotune.errors import SpecError, refuse_unknown_keys
from autotune.measure.workload.corpus import passage, words

BUNDLED = "bundled"
_TASKS = Path(__file__).with_name("tasks.jsonl")
_CALL = re.compile(r"[^:\n]+:[A-Za-z_][A-Za-z0-9_.]*")
_CHARACTERS = 200  # of a prompt from the corpus: some 50 tokens
_MOST_BYTES = 1 << 26  # of a file
_MOST = 1024  # prompts or tasks; their answers are kept in the ledger


@dataclass(frozen=True)
class Quality:
    """How the quality of answers is checked.

    Args:
        prompts: How many passages of the corpus are continued, or a file: a prompt per line, or JSONL with
            ``prompt``.
        tasks: JSONL of ``{"prompt", "answer"}``, or ``bundled``; empty without exact match.
        text: File for the perplexity; empty without.
        scorer: ``module:function`` or ``file.py:function`` that is given ``[{"prompt", "answer"}]``, or a
            command as a list that reads the same as JSONL from its standard input; empty without.
        max_tokens: Length of the answers.
        agreement: Whether answers are compared with those of the default configuration.
        folder: Where relative paths start.
    """

    prompts: int | str = 16
    tasks: str = ""
    text: str = ""
    scorer: str | list[str] = ""
    max_tokens: int = 32
    agreement: bool = True
    folder: str = "."

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Quality:
        """Build from the section.

        Raises:
            SpecError: A key is unknown or a value is wrong; ``path`` is relative to the section.
        """
        refuse_unknown_keys(data, [item.name for item in fields(cls)], "a quality section")
        items = dict(data)
        for key in ("tasks", "text", "folder"):
            if not isinstance(items.get(key, ""), str):
                raise SpecError(f"{key} must be a file, found {items[key]!r}", path=(key,))
        if "max_tokens" in items:
            items["max_tokens"] = _whole(items["max_tokens"], "max_tokens")
        prompts = items.get("prompts", 16)
        if isinstance(prompts, int) or (isinstance(prompts, str) and re.fullmatch(r"[\d.+-]+", prompts)):
            items["prompts"] = _whole(prompts, "prompts")
        elif not isinstance(prompts, str) or not prompts:
            raise SpecError(f"prompts must be a number or a file, found {prompts!r}", path=("prompts",))
        agreement = {"true": True, "false": False}.get(str(items.get("agreement", "true")).lower())
        if agreement is None:
            text = f"agreement must be true or false, found {items['agreement']!r}"
            raise SpecError(text, path=("agreement",))
        scorer = items.get("scorer", "")
        listed = isinstance(scorer, list) and scorer and all(isinstance(word, str) for word in scorer)
        if not (listed or scorer == "" or (isinstance(scorer, str) and _CALL.fullmatch(scorer))):
            raise SpecError(
                f"scorer must be module:function, file.py:function or a command as a list, found {scorer!r}",
                path=("scorer",),
            )
        return cls(**{**items, "agreement": agreement})

    @classmethod
    def located(cls, data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Return the section with its folder made absolute, starting from that of the study file."""
        return {**data, "folder": str(resolved(folder / str(data.get("folder", "."))))} if data else {}

    def loaded(self) -> dict[str, Any]:
        """Return the section with its files read: plain data that travels to any node.

        Raises:
            SpecError: A file is missing or is not what it should be.
        """
        return {
            "prompts": self._prompts(),
            "tasks": self._tasks(),
            "text": self._read("text", self.text) if self.text else "",
            "scorer": self.scorer,
            "max_tokens": self.max_tokens,
            "agreement": self.agreement,
            "folder": self.folder,
        }

    def _prompts(self) -> list[str]:
        if not (self.agreement or self.scorer):
            return []
        if isinstance(self.prompts, int):
            step = len(words()) // self.prompts
            return [passage(i * step, _CHARACTERS) for i in range(self.prompts)]
        text = self._read("prompts", self.prompts)
        if self.prompts.endswith((".jsonl", ".json")):
            return [str(item["prompt"]) for item in _lines("prompts", text, ("prompt",))]
        return _some("prompts", [line for line in text.splitlines() if line.strip()])

    def _tasks(self) -> list[dict[str, str]]:
        if not self.tasks:
            return []
        bundled = self.tasks == BUNDLED
        text = _TASKS.read_text(encoding="utf-8") if bundled else self._read("tasks", self.tasks)
        found = _lines("tasks", text, ("prompt", "answer"))
        return [{"prompt": str(item["prompt"]), "answer": str(item["answer"])} for item in found]

    def _read(self, key: str, name: str) -> str:
        file = (Path(self.folder) / name).expanduser()
        try:
            return read_text(file, _MOST_BYTES)
        except (OSError, ValueError) as error:
            raise SpecError(f"{key}: cannot read {file}: {why(error)}", path=("quality", key)) from None


def _whole(raw: Any, key: str) -> int:
    try:
        number = parse_quantity(raw, dimension="number").value
    except SpecError:
        number = 0.0
    if not number.is_integer() or not 1 <= number <= _MOST:
        text = f"{key} must be a whole number from 1 to {_MOST}, found {raw!r}"
        raise SpecError(text, path=(key,))
    return int(number)


def _some(key: str, found: list[Any]) -> list[Any]:
    if not 1 <= len(found) <= _MOST:
        text = f"{key}: a file must hold from 1 to {_MOST}, found {len(found)}"
        raise SpecError(text, path=("quality", key))
    return found


def _lines(key: str, text: str, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = foreign_json(line)
        except ValueError:
            item = None
        if not isinstance(item, dict) or any(name not in item for name in needed):
            raise SpecError(
                f"{key}: line {number} must be an object with {' and '.join(needed)}, found {line[:80]!r}",
                path=("quality", key),
            )
        found.append(item)
    return _some(key, found)
