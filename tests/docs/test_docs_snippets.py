"""Every code block of the documentation runs, or is read by what would run it.

A comment before a block, which a reader does not see, says more:

- ``file: NAME``: the block is a file that later blocks of the page use
- ``with`` and lines of YAML: the block is part of a study file that these lines complete
- ``shown: PATH``: the block is a file of the repository
- ``output: COMMAND`` (``until: WORDS``): what the command prints, up to these words
- ``printed``: what the Python block before it prints
- ``recorded: COMMAND``: printed by a real run, which no other run repeats
- ``run``: the commands are run
- ``foreign``: the file is another tool's
- ``tested: PATH``: a test of its own takes the block

``pytest --write-golden`` writes what is shown, printed and put out.
"""

import contextlib
import io
import itertools
import json
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from autotune.cli.app import _COMMANDS, cli, main
from autotune.study.study_file import read_study

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = [
    "README.md",
    "CONTRIBUTING.md",
    "search_spaces/README.md",
    "objectives/README.md",
    "benchmarks/README.md",
    "benchmarks/load/README.md",
]
PAGES = [*ELSEWHERE, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"((?:^<!--(?:(?!-->).)*-->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- ?([a-z]+)(?::? ?)(.*?)\s*-->", re.DOTALL)
PROGRAMS = {
    "cd",
    "docker",
    "exec",
    "export",
    "optuna-dashboard",
    "pip",
    "podman",
    "pre-commit",
    "pytest",
    "python3",
    "python3.11",
    "ray",
    "srun",
}
"""Programs that are not ours."""


def blocks(page):
    """Return the marks, the language and the text of each code block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0, "a block that does not end"
    return [(dict(MARK.findall(marks)), language, body) for marks, language, body in BLOCK.findall(text)]


def parse(words):
    """Raise for a command of ours that click would not take."""
    assert set(words[:1]) & set(_COMMANDS), f"no such command: {words}"
    with cli.make_context("autotune", ["version"]) as context:
        command = cli.get_command(context, words[0])
        with command.context_class(command, info_name=words[0], parent=context) as own:
            _, left, _ = command.make_parser(own).parse_args(list(words[1:]))
    assert not left, f"too many words: {words}"


def commands(text):
    """Yield the words of each command of a shell's lines."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&")
        lexer.whitespace_split = True
        for ends, words in itertools.groupby(lexer, lambda word: word in ("&&", ";")):
            command = list(itertools.dropwhile(re.compile(r"\w+=").match, words))
            if command and not ends:
                yield command


def check_command(words, folder):
    """Refuse a command that a reader could not give: a program, a file, an option that is not there."""
    program = Path(words[0]).name
    if program == "autotune":
        parse(words[1:])
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words[1:] if "=" not in word and word not in targets] == []
    elif program == "python" and words[1] == "-m":
        module = ROOT / words[2].replace(".", "/")
        known = module.is_dir() or module.with_suffix(".py").is_file()
        assert known or words[2] in ("venv", "pip", "pytest"), words
    elif program == "python":
        assert (ROOT / words[1]).is_file() or (folder / words[1]).is_file(), words
    elif words[0] == ".ci/run":
        assert (ROOT / words[0]).is_file()
    else:
        assert program in PROGRAMS or program.startswith("$"), f"what is {program}?"


def output_of(command):
    """Return what a command of ours prints, with a port that is always the same."""
    words = shlex.split(command)
    assert words.pop(0) == "autotune"
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        main(words)
    return re.sub(r"(--port\s+)\d+", r"\g<1>8000", said.getvalue())


def same(page, shown, found):
    """Return whether a block shows what was found, wherever lines break: ports differ in length."""
    if shown.split() == re.sub(r"(--port\s+)\d+", r"\g<1>8000", found).split():
        return True
    path = ROOT / page
    if WRITE[0]:
        text = path.read_text(encoding="utf-8")
        assert text.count(f"\n{shown}```") == 1
        path.write_text(text.replace(f"\n{shown}```", f"\n{found.rstrip()}\n```"), encoding="utf-8")
    return False


WRITE = [False]


class Reader:
    """Somebody who does what a page says, from its first block to its last, in a folder of their own."""

    def __init__(self, page, folder):
        self.page, self.folder = page, folder
        self.printed = ""
        for name in ("benchmarks", "examples"):  # as beside a clone
            (folder / name).symlink_to(ROOT / name)

    def take(self, marks, language, text):
        """Run or read one block."""
        if "tested" in marks:
            test = ROOT / marks["tested"]
            assert Path(self.page).name in test.read_text(), "the test does not read this page"
            return
        if "file" in marks:
            (self.folder / marks["file"]).write_text(text)
        if "shown" in marks:
            assert same(self.page, text, (ROOT / marks["shown"]).read_text())
        elif "output" in marks:
            command, _, until = (part.strip() for part in marks["output"].partition("until:"))
            found = output_of(command)
            assert not until or until in found
            assert same(self.page, text, found.partition(until)[0] if until else found)
        elif "printed" in marks:
            assert same(self.page, text, self.printed)
        elif "recorded" in marks:
            check_command(shlex.split(marks["recorded"]), self.folder)
        else:
            getattr(self, f"take_{language or 'nothing'}")(marks, text)

    def take_sh(self, marks, text):
        for words in commands(text):
            check_command(words, self.folder)
            if "run" in marks:
                output_of(shlex.join(words))

    def take_python(self, marks, text):
        if marks.get("file", "").startswith("test_"):
            assert pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", marks["file"]]) == 0
            return
        name = marks.get("file") or "block.py"
        (self.folder / name).write_text(f"{marks.get('with', '')}\n{text}")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            runpy.run_path(name)
        self.printed = said.getvalue()

    def take_yaml(self, marks, text):
        if "foreign" in marks:
            yaml.safe_load(text)
            return
        (self.folder / "block.yaml").write_text(text + marks.get("with", "") + "\n")
        study = read_study(self.folder / "block.yaml")
        assert study.space.count().value > 1
        assert study.system is not None
        if study.system.use not in ("command", "function"):
            assert study.system.built.check(study.space.default_config) is None

    def take_json(self, marks, text):
        json.loads(text)

    def take_toml(self, marks, text):
        tomllib.loads(text)

    def take_text(self, marks, text):
        raise AssertionError("an output says which command prints it")

    take_nothing = take_text


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch, request):
    WRITE[0] = request.config.getoption("--write-golden")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("AUTOTUNE_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    reader = Reader(page, tmp_path)
    wrong = []
    for marks, language, text in blocks(page):
        try:
            reader.take(marks, language, text)
        except Exception as error:  # noqa: BLE001 - all blocks that are wrong are told together
            wrong.append(f"{page}, block\n{text[:300]}\n{type(error).__name__}: {error}")
    for name in [name for name, module in sys.modules.items() if is_below(module, tmp_path)]:
        del sys.modules[name]
    assert not wrong, "\n\n".join(wrong)


def is_below(module, folder):
    """Return whether a module was read from a folder."""
    return str(getattr(module, "__file__", None) or "").startswith(str(folder))


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_in_the_text_of_a_page_exist(page):
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for command in re.findall(r"`autotune ([^`]+)`", text):
        words = shlex.split(re.sub(r"[\[\]\n]", " ", command))
        if words != ["..."]:
            parse([word for word in words if word != "..."])


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_a_page_has_a_next_step(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert re.search(r"^Next: ", text, re.MULTILINE), "a paragraph says what to read or do next"


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page):
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    broken = [
        link
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
        if not ((ROOT / page).parent / link).exists()
    ]
    assert broken == []


def test_a_block_that_is_wrong_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader = Reader("README.md", tmp_path)
    for marks, language, text in (
        ({}, "sh", "autotune run FILE --no-such-option\n"),
        ({}, "sh", "autotune ruin FILE\n"),
        ({}, "sh", "make nothing\n"),
        ({}, "sh", "frobnicate\n"),
        ({}, "python", "assert 1 == 2\n"),
        ({}, "yaml", "name: x\nparameters: {a: {type: int, low: 1, high: 2}}\nsystem: {use: vlm}\n"),
        ({}, "text", "whatever\n"),
        ({"shown": "Makefile"}, "sh", "run:\n"),
        ({"output": "autotune version"}, "text", "autotune 99\n"),
        ({"recorded": "autotune status --what"}, "text", "x\n"),
    ):
        with pytest.raises((AssertionError, Exception)):
            reader.take(marks, language, text)


def test_every_peer_of_the_feature_table_has_a_source_with_a_date():
    """Whoever doubts a cell finds what was read, and when."""
    text = (ROOT / "docs" / "index.md").read_text()
    section = text.partition("## Beside other tools")[2].partition("\n## ")[0]
    sources, _, table = section.partition("\n| |")
    peers = [name.strip(" `") for name in table.splitlines()[0].split("|")[1:-1]]
    assert len(peers) >= 5
    for peer in peers:
        assert re.search(rf"\[`?{re.escape(peer)}`?\]\(https://", sources), peer
    assert re.search(r"as of [A-Z][a-z]+ 20\d\d", sources)
    rows = [line for line in table.splitlines()[2:] if line.startswith("|")]
    assert {line.count(" | ") for line in rows} == {len(peers) + 1}
