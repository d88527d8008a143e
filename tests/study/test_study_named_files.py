"""What travels with a study: the files that it names beside itself, and nothing else."""

import json
import shlex

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
    "deep", ["-" * 100_000 + "1", "(lambda: " * 3000 + "1" + ")" * 3000, "lambda:" * 20_000 + "1"]
)
def test_a_python_file_that_is_too_deep_to_read_travels_alone(tmp_path, deep):
    (tmp_path / "m.py").write_text(f"import other\nx = {deep}\n")
    (tmp_path / "other.py").write_text("")
    (tmp_path / "study.yaml").write_text('system: {use: function, call: "m.py:f"}\n')
    assert "m.py" in names(tmp_path, "study.yaml")


@pytest.mark.parametrize(
    ("line", "also"),
    [
        ('system: {use: command, argv: "python serve.py --threads {x}"}', ["serve.py"]),
        ("system: {use: command, argv: [python, serve.py]}", ["serve.py"]),
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


@pytest.mark.parametrize(
    ("line", "also"),
    [
        ("system: {use: command, argv: [cat, rows.csv, sub/more.txt]}", ["rows.csv", "sub/more.txt"]),
        ('system: {use: command, argv: "cat rows.csv --config conf.json"}', ["conf.json", "rows.csv"]),
        ("system: {use: vllm, command: [serve, conf.json]}", ["conf.json"]),
        ("quality: {scorer: [cat, conf.json]}", ["conf.json"]),
        ("system: {use: command, argv: [cat, --rows=other.csv, '@', --rows=, '=rows.csv']}", []),
        ("system: {use: command, argv: [rows.csv]}", []),  # a program is looked up in PATH
        ("system: {use: command, argv: [cat, sub]}", []),  # a folder
        ("system: {use: command, argv: [serve], env: {ROWS: rows.csv}}", []),
    ],
)
def test_a_word_of_a_command_that_is_a_files_path_makes_it_travel(tmp_path, line, also):
    for name in ("rows.csv", "conf.json", "sub/more.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "study.yaml").write_text(line)
    said = []
    found = named_files(tmp_path / "study.yaml", say=said.append)
    assert sorted(str(path.relative_to(tmp_path)) for path in found) == sorted(["study.yaml", *also])
    assert not said


SECRETS = (
    "server.pem", "api-token.txt", "prod.env", "creds.json", "pwd.txt", "id_rsa", "id_rsa.bak", "cookies.txt",
    "prod.env.local", "terraform.tfvars", "prod.tfstate", "terraform.tfstate.backup", "api-key.txt",
    "key.txt", "apiKey.json", "server.key", "my_keys.json", "APIKey.txt", "hf_token.txt", "token.txt",
    "auth.json", "service_account.json", "access-token.txt", "accesstoken.txt", "HFToken.txt", "oauth2.json",
    "kaggle.json", "gcp-sa.json", "service-account.json", "serviceAccount.json",
)  # fmt: skip


PLAIN = (
    "monkey.csv", "keyboard.csv", "turkeys.csv", "sacred.txt", "environment.csv", "tokenizer.json", "sa.json",
    "tokenizer_config.json", "tokens.csv", "author.txt", "authors.csv", "accounting.csv", "max_tokens.txt",
    "special_tokens_map.json", "hfTokenizer.json", "hftokens.csv",
)  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_that_has_the_letters_of_a_secret_is_none(tmp_path, name):
    (tmp_path / name).write_text("")
    (tmp_path / "study.yaml").write_text(f"system: {{use: command, argv: [cat, {name}]}}\n")
    assert names(tmp_path, "study.yaml") == ["study.yaml", name]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ["etc/passwd", "./etc/passwd", "sub/deep/passwd"],
            "leads out of its folder; a copy there, as ./passwd,",
        ),
        (["linked.py", "sub/linked.py"], "leads out of its folder; ./"),
        ([".env", "./.env"], "is hidden; a copy as ./env travels"),
        (["sub/../rows.csv"], "has '..' in its path; ./rows.csv in its place travels"),
        (["../nf/rows.csv"], "leads out of its folder; a copy there, as ./rows.csv, travels"),
    ],
)
def test_each_word_that_is_a_files_path_and_stays_has_its_one_note(tmp_path, words, why):
    for name in ("etc/passwd", "etc/tool.py", "nf/rows.csv", "work/rows.csv", "work/.env", "work/sub/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "work/etc").symlink_to(tmp_path / "etc")
    (tmp_path / "work/sub/deep").symlink_to(tmp_path / "etc")
    for folder in ("work", "work/sub"):
        (tmp_path / folder / "linked.py").symlink_to(tmp_path / "etc/tool.py")
    study = tmp_path / "work/study.yaml"
    study.write_text(f"system: {{use: command, argv: [cat, {', '.join(words * 2)}]}}\n")
    said = []
    assert named_files(study, say=said.append) == [study]
    assert [line.partition(" of system.argv is also a file")[0] for line in said] == list(map(repr, words))
    assert all(f"stays here: it {why}" in line for line in said), said
    study.write_text(f"system: {{use: command, argv: [a], env: {{X: {words[-1]}}}}}\n")
    said.clear()
    assert named_files(study, say=said.append) == [study]
    assert len(said) == ("/" in words[-1] or words[-1].endswith(".py"))


def test_a_word_with_a_files_path_in_it_has_a_note_unless_the_file_travels_anyway(tmp_path):
    for name in ("rows.csv", "b.csv", "t.jsonl", ".env"):
        (tmp_path / name).write_text("")
    words = [
        "--in=rows.csv",
        "@b.csv",
        "--data=@b.csv",
        "--env=.env",
        "--in=t.jsonl",
        "@../other.csv",
        "-x=none",
    ]
    study = tmp_path / "study.yaml"
    study.write_text(f"system: {{use: command, argv: {['cat', *words]}}}\nworkload: {{trace: t.jsonl}}\n")
    said = []
    assert [path.name for path in named_files(study, say=said.append)] == ["study.yaml", "t.jsonl"]
    assert said == [
        f"{word!r} of system.argv names a file beside the study, which stays here: only a word that is the "
        "path alone makes it travel"
        for word in words[:4]
    ]


def test_a_word_that_may_be_meant_otherwise_is_said_to_stay_and_how_it_travels(tmp_path):
    (tmp_path / "secret.txt").write_text("")
    folder = tmp_path / "work"
    folder.mkdir()
    reasons = {
        "serve": "may mean something else",
        **dict.fromkeys(SECRETS, "may hold a secret"),
        "linked.csv": "leads out of its folder",
    }
    for name in reasons:
        (folder / name).write_text("")
    (folder / "linked.csv").unlink()
    (folder / "linked.csv").symlink_to("../secret.txt")
    words = ", ".join(reasons)
    (folder / "study.yaml").write_text(f"system: {{use: command, argv: [vllm, {words}]}}\n")
    said = []
    assert named_files(folder / "study.yaml", say=said.append) == [folder / "study.yaml"]
    assert said == [
        f"{name!r} of system.argv is also a file beside the study, which stays here: it {why}; "
        f"./{name} in its place travels"
        for name, why in reasons.items()
    ]
    (folder / "study.yaml").write_text("system: {use: command, argv: [vllm, ./serve, ./server.pem]}\n")
    assert names(tmp_path) == ["work/study.yaml", "work/serve", "work/server.pem"]


def test_a_file_that_is_named_on_the_command_line_travels_too(tmp_path):
    (tmp_path / "study.yaml").write_text("space: vllm\n")
    (tmp_path / "mine.yaml").write_text("objective: goals.yaml\n")
    (tmp_path / "goals.yaml").write_text("maximize: speed\n")
    found = named_files(tmp_path / "study.yaml", ["space=./mine.yaml", "budget.trials=8"])
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


@pytest.mark.parametrize(
    "line",
    [
        'description: "do not send the .env file, nor ../outside/secret.txt, nor keys/id.pem"',
        "name: id_rsa",
        "parameters: {x: {type: categorical, values: [id_rsa, serve.py, keys/id.pem]}}",
        "parameters: {x: {type: categorical, values: [1, 2], description: serve.py}}",
        "space: {table: nothing.csv, task: id_rsa}",
        "space: id_rsa\nobjective: id_rsa",
        "start: [{x: id_rsa}, {x: serve.py}]",
        "tags: [id_rsa, serve.py, .env]",
        "system: {use: command, argv: [cat, id_rsa, .env, ./.env, .keys/a.py, ../outside/secret.txt]}",
        'system: {use: command, argv: "cat .env ../outside/tool.sh"}',
        "system: {use: function, call: 'nothing:f', description: serve.py}",
        "quality: {scorer: [cat, .env, ../outside/tool.sh]}",
        "on: {end: [id_rsa, .env]}",
    ],
)
def test_no_file_travels_because_a_text_has_its_name(tmp_path, line):
    texts = ("work/.env", "work/id_rsa", "work/serve.py", "work/keys/id.pem", "work/.keys/a.py")
    for name in (*texts, "outside/secret.txt", "outside/tool.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "work/study.yaml").write_text(line)
    assert names(tmp_path) == ["work/study.yaml"]


@pytest.mark.parametrize(
    ("line", "also"),
    [
        ("workload: {trace: .hidden.jsonl}", "work/.hidden.jsonl"),
        ("workload: {prompt_tokens: {mixture: [{file: ../outside/rows.txt}]}}", "outside/rows.txt"),
        ("quality: {tasks: ../outside/rows.txt}", "outside/rows.txt"),
        ("system: {use: replay, table: ../outside/rows.txt}", "outside/rows.txt"),
        ("system: {use: transformers, perplexity_text: ../outside/rows.txt}", "outside/rows.txt"),
        ("system: {use: function, call: '../outside/tool.py:f'}", "outside/tool.py"),
        ("system: {use: command, argv: [./tools/serve]}", "work/tools/serve"),
        ("system: {use: command, argv: [serve], env: {CONFIG: ./tools/serve}}", "work/tools/serve"),
        ("on: {trial: {call: '../outside/tool.py:f'}}", "outside/tool.py"),
    ],
)
def test_the_whole_value_of_a_key_that_names_a_file_may_lie_anywhere(tmp_path, line, also):
    for name in ("work/.hidden.jsonl", "outside/rows.txt", "outside/tool.py", "work/tools/serve"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "work/study.yaml").write_text(line)
    assert names(tmp_path) == sorted([also, "work/study.yaml"], key=lambda name: name != "work/study.yaml")


def test_a_link_travels_under_its_name_with_what_it_leads_to(tmp_path):
    for name in ("s/slow.py", "s/rows.jsonl", "work/helper.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("import helper\n")
    (tmp_path / "work/linked.py").symlink_to("../s/slow.py")
    (tmp_path / "work/rows.jsonl").symlink_to("../s/rows.jsonl")
    (tmp_path / "work/study.yaml").write_text(
        "system: {use: function, call: 'linked.py:f'}\nworkload: {trace: rows.jsonl}\n"
    )
    assert names(tmp_path) == ["work/study.yaml", "work/linked.py", "work/helper.py", "work/rows.jsonl"]


@pytest.mark.parametrize("call", ["call: 'linked.py:f'", "call: 'linked:f'", "argv: [python, ./linked.py]"])
@pytest.mark.parametrize(
    "imported", ["import near", "from near import f", "from . import near", "import pkg.near"]
)
def test_a_link_whose_imports_lie_beside_what_it_leads_to_is_refused_until_they_are_linked_too(
    tmp_path, call, imported
):
    for name in ("s/near.py", "s/pkg/near.py", "work/study.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("f = 1\n")
    (tmp_path / "s" / "slow.py").write_text(f"import json\n{imported}\n")
    (tmp_path / "work" / "linked.py").symlink_to("../s/slow.py")
    use = "command" if "argv" in call else "function"
    (tmp_path / "work" / "study.yaml").write_text(f"system: {{use: {use}, {call}}}\n")
    module = "pkg.near" if "pkg" in imported else "near"
    with pytest.raises(SpecError) as refused:
        names(tmp_path)
    link, target = tmp_path / "work" / "linked.py", tmp_path / "s" / "slow.py"
    assert refused.value.message.startswith(
        f"{link} is a link to {target}, which imports {module!r} from beside"
    )
    assert f"{tmp_path / 's' / module.replace('.', '/')}.py beside linked.py" in refused.value.hint
    for name in ("near.py", "pkg"):
        (tmp_path / "work" / name).symlink_to(f"../s/{name}")
    near = f"work/{module.replace('.', '/')}.py"
    assert names(tmp_path) == ["work/study.yaml", "work/linked.py", near]
    (tmp_path / "work" / "near.py").unlink()
    (tmp_path / "work" / "near.py").write_text("f = 2\n")
    if module == "near":
        with pytest.raises(SpecError, match=r"may be .*s/near\.py, which differs"):
            names(tmp_path)


@pytest.mark.parametrize(
    ("call", "lines", "also"),
    [
        ("pkg.main:f", "from pkg.helper import g\n", ["pkg/helper.py"]),
        ("pkg.main:f", "import pkg.deep.far\n", ["pkg/deep/far.py"]),
        (
            "pkg.deep.main:f",
            "from ..helper import g\nfrom .far import h\n",
            ["pkg/helper.py", "pkg/deep/far.py"],
        ),
        ("pkg.deep.main:f", "from ... import top\n", ["top.py"]),
        ("pkg/main.py:f", "import top\nfrom . import helper\n", ["top.py", "pkg/helper.py"]),
        ("top:f", "from .nothing import x\nfrom ........... import y\n", []),
    ],
)
def test_imports_are_looked_up_from_the_studys_folder_and_by_their_level(tmp_path, call, lines, also):
    for name in ("top.py", "pkg/__init__.py", "pkg/helper.py", "pkg/deep/__init__.py", "pkg/deep/far.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    target = call.partition(":")[0]
    file = target if target.endswith(".py") else f"{target.replace('.', '/')}.py"
    (tmp_path / file).write_text(lines)
    (tmp_path / "study.yaml").write_text(f"system: {{use: function, call: '{call}'}}\n")
    found = [name for name in names(tmp_path, "study.yaml") if not name.endswith("__init__.py")]
    assert sorted(found) == sorted(["study.yaml", file, *also])


def test_a_relative_import_does_not_leave_the_study(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "work/top.py").write_text("from .. import mine\nfrom ..mine import x\n")
    (tmp_path / "work/study.yaml").write_text("system: {use: function, call: 'top:f'}\n")
    assert names(tmp_path) == ["work/study.yaml", "work/top.py"]


def test_of_a_package_hidden_files_stay(tmp_path):
    for name in ("__init__.py", "a.py", ".mine.py", ".keys/b.py"):
        (tmp_path / "pkg" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pkg" / name).write_text("")
    (tmp_path / "study.yaml").write_text("system: {use: function, call: 'pkg:f'}\n")
    assert names(tmp_path, "study.yaml") == ["study.yaml", "pkg/__init__.py", "pkg/a.py"]


def test_a_file_that_travels_and_sounds_secret_is_told(tmp_path):
    named = [
        "conf/creds.json",
        "conf/rows.csv",
        "secrets/prod.json",
        "keys/eu/prod.txt",
        "tokenizer/vocab.json",
    ]
    for name in [*named, "api_key.jsonl"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    study = tmp_path / "secrets.yaml"
    argv = ["python", *named]
    study.write_text(f"system: {{use: command, argv: {argv}}}\nworkload: {{trace: api_key.jsonl}}\n")
    said = []
    assert len(named_files(study, say=said.append)) == 7
    assert sorted(said) == [
        f"{name} travels, and may hold a secret by its name"
        for name in ("api_key.jsonl", "conf/creds.json", "keys/eu/prod.txt", "secrets/prod.json")
    ]


@pytest.mark.parametrize("as_line", [False, True])
@pytest.mark.parametrize("shell", [["bash", "-c"], ["/bin/sh", "-ec"]])
def test_words_of_a_shells_script_travel_as_those_of_a_command_do(tmp_path, shell, as_line):
    for name in ("run.py", "helper.py", "rows.csv", "creds.json", "out"):
        (tmp_path / name).write_text("import helper\n" if name == "run.py" else "")
    script = "cd . && python run.py 'rows.csv' creds.json --n={n}>out; echo done # creds.json"
    argv = [*shell, script]
    command = json.dumps(shlex.join(argv) if as_line else argv)
    study = tmp_path / "study.yaml"
    study.write_text(f"system: {{use: command, argv: {command}}}\n")
    said = []
    found = {path.name for path in named_files(study, say=said.append)}
    assert found == {"study.yaml", "run.py", "helper.py", "rows.csv"}
    assert [line.split(" of ")[0] for line in said] == ["'creds.json'"]


@pytest.mark.parametrize(
    ("script", "also"),
    [
        ("python run.py > big.log", ["run.py"]),
        ("python run.py >>big.log 2>big.log", ["run.py"]),
        ("python run.py 2>&1 >| big.log rows.csv", ["run.py", "rows.csv"]),
        ("python run.py &> big.log rows.csv | tee -a big.log; cat rows.csv", ["run.py", "rows.csv"]),
        ("rm -f big.log big.log && X=1 python run.py", ["run.py"]),
        ("if true; then rm -f big.log; fi\n/bin/rm big.log \\\n big.log  \npython run.py", ["run.py"]),
        ("python run.py < rows.csv 2> big.log", ["run.py", "rows.csv"]),
        ("grep '>' rows.csv; grep \\> rows.csv # it's", ["rows.csv"]),
        ("""cat "rows.csv"'' ru""n.py""", ["run.py", "rows.csv"]),
        ("python run.py rm rows.csv", ["run.py", "rows.csv"]),
        ("env -u X tee big.log; sudo -n rm big.log; command -p rm big.log; \\rm big.log", []),
        ("env FOO=1 nice -n 5 tee big.log; env -i -C . A=1 /usr/bin/nice -n5 rm -- big.log", []),
        ("timeout -k 3 5 tee big.log; sudo -u me --group us tee big.log; cat rows.csv", ["rows.csv"]),
        ("cat rows.csv | xargs -n 1 touch big.log; stdbuf -oL tee big.log", ["rows.csv"]),
        ("time -p rm big.log; exec -a rm python run.py; nice -n 5 ./tee rows.csv", ["run.py", "rows.csv"]),
        ("timeout 5 python run.py tee rows.csv; sudo -u rm cat rows.csv", ["run.py", "rows.csv"]),
    ],
)
def test_what_a_script_writes_or_removes_neither_travels_nor_keeps_the_study_back(
    tmp_path, monkeypatch, script, also
):
    for name in ("run.py", "rows.csv"):
        (tmp_path / name).write_text("")
    (tmp_path / "big.log").write_text("x" * 2000)
    monkeypatch.setattr(module, "LARGEST", 1000)
    study = tmp_path / "study.yaml"
    study.write_text(f"system: {{use: command, argv: {json.dumps(['bash', '-c', script])}}}\n")
    said = []
    assert {path.name for path in named_files(study, say=said.append)} == {"study.yaml", *also}
    assert not said


@pytest.mark.parametrize(
    ("argv", "also"),
    [
        (["tee", "out.log"], []),
        (["/usr/bin/tee", "-a", "./out.log", "rows.csv"], []),
        (["env", "X=1", "touch", "out.log"], []),
        (["env", "-i", "A=1", "tee", "out.log"], []),
        (["timeout", "5", "tee", "out.log"], []),
        (["sudo", "-nu", "me", "/usr/bin/nice", "--adjustment", "5", "tee", "out.log"], []),
        (["xargs", "-a", "rows.csv", "touch", "out.log"], ["rows.csv"]),
        (["./tee", "rows.csv"], ["tee", "rows.csv"]),
        (["python", "run.py", "touch", "rows.csv"], ["run.py", "rows.csv"]),
        (["bash", "-c", "./tee rows.csv | tee out.log"], ["tee", "rows.csv"]),
    ],
)
@pytest.mark.parametrize("as_line", [False, True])
def test_what_a_command_without_a_shell_writes_neither_travels_nor_keeps_the_study_back(
    tmp_path, monkeypatch, argv, also, as_line
):
    for name in ("run.py", "rows.csv", "tee"):
        (tmp_path / name).write_text("")
    (tmp_path / "out.log").write_text("x" * 2000)
    monkeypatch.setattr(module, "LARGEST", 1000)
    study = tmp_path / "study.yaml"
    command = json.dumps(shlex.join(argv) if as_line else argv)
    study.write_text(f"system: {{use: command, argv: {command}}}\n")
    said = []
    assert {path.name for path in named_files(study, say=said.append)} == {"study.yaml", *also}
    assert not said


def test_a_hook_travels_with_the_folder_that_it_is_imported_from(tmp_path):
    for name in ("mine/told.py", "mine/words.py", "mine/other.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("import words\n" if name == "mine/told.py" else "")
    study = tmp_path / "study.yaml"
    study.write_text("on: {end: [{call: 'told:at_end', folder: mine}]}\n")
    assert {path.name for path in named_files(study)} == {"study.yaml", "told.py", "words.py"}


@pytest.mark.parametrize(
    "argv",
    [
        ["env", "X=1", "bash", "-c", "python run.py rows.csv"],
        ["nice", "-n", "5", "bash", "-lc", "python run.py rows.csv"],
        ["timeout", "5", "/bin/sh", "-e", "-c", "python run.py rows.csv"],
        ["bash", "-co", "pipefail", "python run.py rows.csv"],
        ["bash", "-o", "pipefail", "-c", "python run.py rows.csv"],
        ["bash", "--norc", "-c", "--", "python run.py rows.csv"],
        ["bash", "-c", "cd . && exec bash -c 'python run.py \"rows.csv\"'"],
    ],
)
@pytest.mark.parametrize("as_line", [False, True])
def test_the_script_of_a_shell_is_found_wherever_that_stands(tmp_path, argv, as_line):
    for name in ("run.py", "rows.csv"):
        (tmp_path / name).write_text("")
    study = tmp_path / "study.yaml"
    command = json.dumps(shlex.join(argv) if as_line else argv)
    study.write_text(f"system: {{use: command, argv: {command}}}\n")
    assert {path.name for path in named_files(study)} == {"study.yaml", "run.py", "rows.csv"}


@pytest.mark.parametrize("script", ["python run.py it's rows.csv", 'bash -c "python run.py it\'s"'])
def test_a_script_with_an_open_quote_is_said_to_send_nothing(tmp_path, script):
    (tmp_path / "run.py").write_text("")
    study = tmp_path / "study.yaml"
    study.write_text(f"system: {{use: command, argv: {json.dumps(['bash', '-c', script])}}}\n")
    said = []
    assert named_files(study, say=said.append) == [study]
    (line,) = said
    assert line.endswith(
        " of system.argv has an open quote: which files it names is not known, and they stay here"
    )


@pytest.mark.parametrize(
    "argv", [["echo", "-c", "run.py rows.csv"], ["bash", "run.py rows.csv"], ["bash", "-c", "a 'b"]]
)
def test_a_text_that_is_no_script_has_no_words(tmp_path, argv):
    for name in ("run.py", "rows.csv"):
        (tmp_path / name).write_text("")
    study = tmp_path / "study.yaml"
    study.write_text(f"system: {{use: command, argv: {argv}}}\n")
    assert [path.name for path in named_files(study)] == ["study.yaml"]
