"""The ``quality`` section of a study file, and what of it travels to the node that measures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from autotune.core.endpoint import foreign_json
from autotune.core.input_file import read_text, resolved, why
from autotune.core.kinds import By, Flag, Text, Whole
from autotune.core.named_code import CALL, refuse_absent
from autotune.core.section import Section
from autotune.errors import SpecError, under
from autotune.measure.workload.corpus import passage, words

BUNDLED = "bundled"
_TASKS = Path(__file__).with_name("tasks.jsonl")
_SCORER = "module:function, file.py:function or a command as a list"
_CHARACTERS = 200  # of a prompt from the corpus: some 50 tokens
_MOST_BYTES = 1 << 26  # of a file
_MOST = 1024  # prompts or tasks; their answers are kept in the ledger


def _prompts(raw: object, name: str) -> int | str:
    if isinstance(raw, int) or (isinstance(raw, str) and re.fullmatch(r"[\d.+-]+", raw)):
        return Whole(1, _MOST).read(raw, name) or 0
    return Text("a number or a file", needed=True).read(raw, name)


def _scorer(raw: object, name: str) -> str | list[str]:
    if isinstance(raw, list) and raw and all(isinstance(word, str) for word in raw):
        return raw
    return Text(_SCORER, pattern=rf"(?:{CALL})?").read(raw, name)


@dataclass(frozen=True)
class Quality(Section):
    """The check of the quality of answers.

    Args:
        prompts: Number of passages of the corpus to continue, or a file: a prompt per line, or JSONL with
            ``prompt``.
        tasks: JSONL of ``{"prompt", "answer"}``, or ``bundled``; empty without exact match.
        text: File for the perplexity; empty without.
        scorer: ``module:function`` or ``file.py:function`` that is given ``[{"prompt", "answer"}]``, or a
            command as a list that reads the same as JSONL from its standard input; empty without.
        max_tokens: Length of the answers.
        agreement: Whether answers are compared with those of the default configuration.
        folder: Folder where relative paths start.
    """

    title: ClassVar[str] = "a quality section"

    prompts: Annotated[int | str, By(_prompts, what="a whole number, or a file")] = 16
    tasks: Annotated[str, Text("a file")] = ""
    text: Annotated[str, Text("a file")] = ""
    scorer: Annotated[str | list[str], By(_scorer, what="a function, or a list of words")] = ""
    max_tokens: Annotated[int, Whole(1, _MOST)] = 32
    agreement: Annotated[bool, Flag()] = True
    folder: Annotated[str, Text("a file")] = "."

    @classmethod
    def located(cls, data: Mapping[str, object], folder: Path) -> dict[str, Any]:
        """Return the section with its folder made absolute, starting from that of the study file."""
        own = data.get("folder", ".")
        return {**data, "folder": str(resolved(folder / own))} if isinstance(own, str) else dict(data)

    def refuse_absent(self, *, here: bool) -> None:
        """Refuse a function for a scorer that is not there.

        Args:
            here: Whether it runs on this machine.

        Raises:
            SpecError: It is not.
        """
        if self.scorer and isinstance(self.scorer, str):
            with under("scorer"):
                refuse_absent(self.scorer, Path(self.folder), what="scorer", here=here, called=True)

    def loaded(self) -> dict[str, object]:
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
            raise SpecError(f"{key}: cannot read {file}: {why(error)}", path=(key,)) from None


def _some(key: str, found: list[Any]) -> list[Any]:
    if not 1 <= len(found) <= _MOST:
        text = f"{key}: a file must hold from 1 to {_MOST}, found {len(found)}"
        raise SpecError(text, path=(key,))
    return found


def _lines(key: str, text: str, needed: tuple[str, ...]) -> list[dict[str, object]]:
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
                path=(key,),
            )
        found.append(item)
    return _some(key, found)
