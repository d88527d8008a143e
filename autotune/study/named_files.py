"""The files that a study file names beside itself: what has to travel with it, and no more.

Found is what the keys that are read as files say, of the file and of the spaces that it starts from: traces,
prompts, tables, programs, and Python files or modules with whatever they import from beside themselves. A
text that no reader opens names nothing, whatever it says: a description, a name, a parameter's value. A word
of a command may be meant otherwise: a file that it may be too travels only where its name leaves no doubt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from textwrap import shorten

from autotune.core.input_file import resolved
from autotune.errors import AutotuneError, SpecError
from autotune.spec.overrides import apply_overrides
from autotune.spec.yaml_text import Document, parse_text, read_text
from autotune.study.command_words import words_of
from autotune.study.imported_files import imports_of, module_file, refuse_lost_import
from autotune.study.private_names import sounds_secret
from autotune.systems.registry import locate_system

LARGEST = 64 << 20
"""Bytes of the largest file that travels: Ray keeps what is sent in the memory of its head."""

_ENDINGS = (".yaml", ".yml")
_FILES = {
    "system": ("table", "model", "draft_model", "tokenizer", "perplexity_text"),
    "workload": ("trace", "prompts"),
    "quality": ("prompts", "tasks", "text"),
}  # keys whose whole value is a file's path
_CALLS = ("call", "trainable", "scorer")  # keys that say module:function or file.py:function
_COMMANDS = ("argv", "command", "program", "scorer")  # keys that are a program with its words
_PROGRAMS = (".py", ".sh", ".bash", ".pl", ".rb", ".js", ".lua", ".R", ".jl")  # endings of their scripts
_INNER = re.compile(r"(?:-[^=]*=)?@?(.+)", re.DOTALL)  # --name=FILE and @FILE


def named_files(
    study: Path, overrides: Sequence[str] = (), say: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Return a study file and the files that it names by relative paths, absolute and each once.

    Args:
        study: Path of the study file, which can be read.
        overrides: ``KEY=VALUE`` texts as if written in the file.
        say: Callable that takes a line about each word of a command that is or names a file which does not
            travel, and about each file that does while its name sounds like a secret's.

    Raises:
        SpecError: A folder or a file is named that is too large to be sent, or a link to a Python file that
            would import something else where it is sent.
    """
    file = resolved(study)
    search = _Search(file.parent)
    search.add_study(file, overrides)
    for line, path in search.stays.items():
        if path not in search.found:  # for another key
            say(line)
    for path in search.found:
        below = path.relative_to(file.parent) if path.is_relative_to(file.parent) else path.name
        if path != file and sounds_secret(str(below)):
            say(f"{os.path.relpath(path, file.parent)} travels, and may hold a secret by its name")
    return list(search.found)


class _Search:
    """The files found so far.

    Args:
        home: Folder of the study file, where the paths of its sections start.
    """

    def __init__(self, home: Path) -> None:
        self.found: dict[Path, None] = {}
        self.stays: dict[str, Path] = {}  # files that a word names and that stay, by what is said of it
        self._home = home
        self._roots = [home]  # folders that functions are imported from

    def add_study(self, file: Path, overrides: Sequence[str] = ()) -> None:
        """Add a study file or a space, and what it names."""
        if not self._add(file):
            return
        try:
            document = parse_text(read_text(file), str(file))
            apply_overrides(document, overrides)
        except SpecError:  # no study file or space; it travels as it is
            return
        self._add_bases(document, file.parent)
        for name, keys in _FILES.items():
            section = document.data.get(name)
            if isinstance(section, Mapping):
                self._add_section(name, section, keys)
        hooks = document.data.get("on")
        for hook in _sections(hooks) if isinstance(hooks, Mapping) else ():
            self._add_section("on", hook, ())
        _refuse_model(document.data, file)

    def _add_bases(self, document: Document, folder: Path) -> None:
        """Add the space and the objective that a file starts from."""
        for key in ("space", "objective"):
            value = document.data.get(key)
            if isinstance(value, str) and ("/" in value or value.endswith(_ENDINGS)):  # else a shipped one
                path = _path(folder, value)
                if path is not None and key == "space":
                    self.add_study(path)
                elif path is not None:
                    self._add(path)
            elif key == "space" and isinstance(value, Mapping):
                self._add_file(folder, value.get("table"))

    def _add_section(self, name: str, section: Mapping[str, object], files: Sequence[str]) -> None:
        """Add what a section of a study names, from the folder that it says to be its own."""
        own = section.get("folder")
        folder = Path(os.path.abspath(self._home / own)) if isinstance(own, str) else self._home
        self._roots = list(dict.fromkeys([*self._roots, folder]))
        for key in (*files, *(_located(section, self._home) if name == "system" else ())):
            self._add_file(folder if name == "quality" else self._home, section.get(key))
        for key in ("prompt_tokens", "output_tokens"):
            for file in _length_files(section.get(key)):
                self._add_file(self._home, file)
        for key in _CALLS:
            self._add_call(folder, section.get(key))
        for key in _COMMANDS:
            for word in words_of(section.get(key)):
                self._add_word(folder, word.text, f"{name}.{key}", plain=word.plain)
                if word.opaque:
                    shown = shorten(f"{word.text}", 60, placeholder=" ...")
                    self.stays[
                        f"the script {shown!r} of {name}.{key} has an open quote: which files it names "
                        "is not known, and they stay here"
                    ] = Path()
        environment = section.get("env")
        for variable, word in environment.items() if isinstance(environment, Mapping) else ():
            self._add_word(folder, word, f"{name}.env.{variable}", plain=False)

    def _add_file(self, folder: Path, name: object) -> None:
        """Add the file whose path is the whole value of a key."""
        path = _path(folder, name)
        if path is not None:
            self._add(path)

    def _add_call(self, folder: Path, call: object) -> None:
        """Add the file or the module of a function."""
        target, colon, _ = call.rpartition(":") if isinstance(call, str) else ("", "", "")
        if colon and target.endswith(".py"):
            self._add_file(folder, target)
        elif colon and target.replace(".", "_").isidentifier():
            self._add_module(folder, target)

    def _add_word(self, folder: Path, word: object, key: str, *, plain: bool) -> None:
        """Add the file that a word of a command is; one that stays is noted.

        Args:
            folder: Folder where its path starts.
            word: The word.
            key: Key that it stands at, for the note.
            plain: Whether it may name a file without a folder or the ending of a script.
        """
        if not isinstance(word, str):
            return
        path = _path(folder, word)
        if path is None:
            if plain:
                self._note_inner(folder, word, key)
        elif (is_path := "/" in word or word.endswith(_PROGRAMS)) or plain:
            reason = self._why_it_stays(folder, word, path, is_path=is_path)
            if reason:
                where = " beside the study" if path.is_relative_to(self._home) else ""
                self.stays[f"{word!r} of {key} is also a file{where}, which stays here: it {reason}"] = path
            else:
                self._add(path)

    def _why_it_stays(self, folder: Path, word: str, path: Path, *, is_path: bool) -> str:
        """Return why the file that a word is does not travel, and what would; empty if it does."""
        home = self._home if folder.is_relative_to(self._home) else folder
        parent_leaves = not path.parent.resolve().is_relative_to(home.resolve())
        if parent_leaves:
            return f"leads out of its folder; a copy there, as ./{path.name.lstrip('.')}, travels"
        if _hidden(PurePath(word)):
            inner = PurePath(os.path.relpath(path, folder))
            if not _hidden(inner):
                return f"has '..' in its path; ./{inner} in its place travels"
            return f"is hidden; a copy as ./{path.name.lstrip('.')} travels"
        if word.startswith("./"):
            return ""
        why = ""
        if not path.resolve().is_relative_to(home.resolve()) or not (
            is_path or path.is_relative_to(self._home)
        ):
            why = "leads out of its folder"
        elif not is_path and sounds_secret(word):
            why = "may hold a secret"
        elif not (is_path or path.suffix):
            why = "may mean something else"
        return why and f"{why}; ./{word} in its place travels"

    def _note_inner(self, folder: Path, word: str, key: str) -> None:
        """Note the file of the folder that a word such as ``--name=FILE`` or ``@FILE`` has in it."""
        match = _INNER.fullmatch(word)
        path = _path(folder, match[1]) if match else None
        if match and path is not None and path.is_relative_to(folder):
            self.stays[
                f"{word!r} of {key} names a file beside the study, which stays here: only a word that is the "
                "path alone makes it travel"
            ] = path

    def _add(self, file: Path) -> bool:
        """Add a file, with what it imports if it is Python; return whether it is a new one."""
        if file in self.found:
            return False
        if file.stat().st_size > LARGEST:
            raise SpecError(
                f"{file} has more than {LARGEST >> 20} MiB and does not travel with the study",
                hint="put it where every node finds it, and name it by its absolute path",
            )
        self.found[file] = None
        if file.suffix == ".py":
            for level, name in sorted(imports_of(file)):
                folders = self._import_folders(file, level)
                refuse_lost_import(file, level, name, folders)
                for folder in folders:
                    self._add_module(folder, name)
        return True

    def _import_folders(self, file: Path, level: int) -> list[Path]:
        """Return the folders where an import of a file is looked up; a relative one stays in the study."""
        if not level:
            return list(dict.fromkeys([file.parent, *self._roots]))
        folder = file.parents[min(level, len(file.parents)) - 1]
        ours = level == 1 or any(folder.is_relative_to(root) for root in self._roots)
        return [folder] if ours else []

    def _add_module(self, folder: Path, name: str) -> None:
        """Add a module that lies in a folder; of a package, all its Python files but hidden ones."""
        path, file = folder.joinpath(*name.split(".")), module_file(folder, name)
        if file == path.with_suffix(".py"):
            for package in path.relative_to(folder).parents:
                if (init := folder / package / "__init__.py").is_file() and package != Path():
                    self._add(init)
            self._add(file)
        elif file is not None:
            for file in sorted(path.rglob("*.py")):
                if not _hidden(file.relative_to(path)):
                    self._add(file)


def _path(folder: Path, name: object) -> Path | None:
    """Return the file of a relative path under the name that it has there, links kept; ``None`` without."""
    if not isinstance(name, str) or not name or os.path.isabs(name) or name[0] == "~" or "\0" in name:
        return None
    path = Path(os.path.abspath(folder / str(name)))
    with suppress(OSError):  # a text longer than a path can be
        return path if path.is_file() else None
    return None


def _hidden(path: PurePath) -> bool:
    """Return whether a relative path has a name that begins with a dot, or leads out of its folder."""
    return any(part.startswith(".") for part in path.parts)


def _located(section: Mapping[str, object], folder: Path) -> list[str]:
    """Return the keys of a system, a plug-in's too, whose text it takes as a path that starts at a folder."""
    try:
        found = locate_system(section, folder)
    except AutotuneError:  # said by whoever builds it
        return []
    return [key for key, text in section.items() if isinstance(text, str) and found.get(key) != text]


def _length_files(lengths: object) -> Iterator[object]:
    """Yield the files that a distribution of lengths names."""
    if isinstance(lengths, Mapping):
        yield lengths.get("file")
        mixture = lengths.get("mixture")
        for part in mixture if isinstance(mixture, list) else ():
            yield from _length_files(part)


def _sections(hooks: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the receivers of events as sections."""
    for listed in hooks.values():
        for hook in listed if isinstance(listed, list) else [listed]:
            yield hook if isinstance(hook, Mapping) else {"call": hook}


def _refuse_model(data: Mapping[str, object], file: Path) -> None:
    """Refuse a model that lies beside the study: it does not travel."""
    system = data.get("system")
    for key in ("model", "draft_model"):
        model = system.get(key) if isinstance(system, Mapping) else None
        if isinstance(model, str) and not os.path.isabs(model) and (file.parent / model).is_dir():
            raise SpecError(
                f"{file}: {key} {model!r} is a folder of this machine and does not travel with the study",
                hint="name a model of the hub, or the absolute path at which every node has it",
            )
