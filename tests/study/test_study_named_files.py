"""What travels with a study: the files that it names beside itself, and nothing else."""

import pytest

from autotune.errors import SpecError
from autotune.study import named_files as module
from autotune.study.named_files import named_files

STUDY = """
space: ./spaces/mine.yaml
objective: goals.yaml
system: {use: function, call: "bench.measure:work"}
workload: {trace: ../traces/chat.jsonl, prompts: prompts.txt}
quality: {folder: checks, text: words.txt}
"""


@pytest.fixture
def folder(tmp_path):
    """A home folder with much that nobody named."""
    texts = {
        "work/study.yaml": STUDY,
        "work/spaces/mine.yaml": "space: base.yaml\nparameters: {x: {type: int, low: 1, high: 2}}\n",
        "work/spaces/base.yaml": "parameters: {y: {type: int, low: 1, high: 2}}\n",
        "work/goals.yaml": "maximize: speed\n",
        "work/bench/__init__.py": "",
        "work/bench/measure.py": "import json\nfrom .tools import half\nimport shared.deep\n",
        "work/bench/tools.py": "half = 1\n",
        "work/bench/unused.py": "",
        "work/bench/shared/deep.py": "",
        "work/prompts.txt": "hello",
        "work/checks/words.txt": "words",
        "work/checks/other.txt": "",
        "work/.env": "SECRET=1",
        "work/private.txt": "mine",
        "traces/chat.jsonl": "{}",
        "traces/other.jsonl": "{}",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(folder, study="work/study.yaml"):
    return [str(path.relative_to(folder)) for path in named_files(folder / study)]


def test_what_a_study_names_travels_with_what_that_imports_and_nothing_else(folder):
    found = names(folder)
    assert found[0] == "work/study.yaml"
    assert sorted(found) == [
        "traces/chat.jsonl",
        "work/bench/__init__.py",
        "work/bench/measure.py",
        "work/bench/shared/deep.py",
        "work/bench/tools.py",
        "work/checks/words.txt",
        "work/goals.yaml",
        "work/prompts.txt",
        "work/spaces/base.yaml",
        "work/spaces/mine.yaml",
        "work/study.yaml",
    ]


@pytest.mark.parametrize(
    ("line", "also"),
    [
        ('system: {use: command, run: "python serve.py --threads {x}"}', ["serve.py"]),
        ("system: {use: command, run: [python, serve.py]}", ["serve.py"]),
        ('system: {use: function, call: "serve.py:work"}', ["serve.py"]),
        ('system: {use: function, call: "serve:work"}', ["serve.py"]),
        ("space: {table: rows.csv}", ["rows.csv"]),
        ('on: {end: ["serve.py:told"]}', ["serve.py"]),
        ("system: {use: vllm, model: Qwen/Qwen3-8B}", []),
        ("workload: {trace: /data/rows.csv}", []),
    ],
)
def test_programs_modules_tables_and_hooks_are_found(tmp_path, line, also):
    for name in ("serve.py", "rows.csv"):
        (tmp_path / name).write_text("")
    (tmp_path / "study.yaml").write_text(line)
    assert sorted(names(tmp_path, "study.yaml")) == sorted(["study.yaml", *also])


def test_a_file_that_is_named_on_the_command_line_travels_too(tmp_path):
    (tmp_path / "study.yaml").write_text("space: vllm\n")
    (tmp_path / "mine.yaml").write_text("objective: goals.yaml\n")
    (tmp_path / "goals.yaml").write_text("maximize: speed\n")
    found = named_files(tmp_path / "study.yaml", ["./mine.yaml", "8"])
    assert [path.name for path in found] == ["study.yaml", "mine.yaml", "goals.yaml"]


def test_what_is_too_large_or_a_folder_of_a_model_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "study.yaml").write_text("system: {use: vllm, model: weights}\nworkload: {trace: t.jsonl}\n")
    (tmp_path / "weights").mkdir()
    with pytest.raises(SpecError, match="model 'weights' is a folder of this machine"):
        named_files(tmp_path / "study.yaml")
    (tmp_path / "weights").rmdir()
    (tmp_path / "t.jsonl").write_text("x" * 2000)
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(SpecError, match=r"t\.jsonl has more than"):
        named_files(tmp_path / "study.yaml")
