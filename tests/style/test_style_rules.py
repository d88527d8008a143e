"""The conventions of the tree: sizes, names, forbidden calls, nothing of one machine."""

import ast
import re
import subprocess
import tomllib
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

import autotune

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "autotune").rglob("*.py"))
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split("\n")
TEXT = [ROOT / name for name in TRACKED if name and (ROOT / name).is_file()]


@cache
def tree_of(path):
    return ast.parse(path.read_text())


def trees():
    """Yield the path below the root and the syntax tree of each module."""
    for path in MODULES:
        yield path.relative_to(ROOT), tree_of(path)


def test_functions_can_be_read_in_one_sitting():
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 80
    ]
    assert long == []


def test_no_process_of_ours_imports_from_the_folder_that_it_is_called_in():
    """`own_module` in `autotune/core/environment.py` is what runs a module."""
    run = re.compile(r"""sys\.executable,\s*["']-m["']""")
    assert [str(path) for path in MODULES if run.search(path.read_text())] == []


def test_names_that_ray_keeps_to_itself_stand_where_it_is_said_why():
    private = [path for path in MODULES if re.search(r"\bray(?:\.\w+)*\._", path.read_text())]
    assert [str(path.relative_to(ROOT)) for path in private] == [
        "autotune/executor/ray_private.py",
        "autotune/systems/own/trainable.py",  # Tune's storage alone, in the process of one trial
    ]


def test_requests_are_made_by_one_client():
    """`autotune/core/http_client.py`: each request has a last moment and a largest answer."""
    others = {"urllib.request", "http.client", "requests", "httpx", "urllib3", "aiohttp"}
    reasons = {
        (
            "autotune/init/find_model.py",
            "urllib.request",
        ): "the hub: redirects, and proxies as its client takes",
        ("autotune/tracking/run_addresses.py", "urllib.request"): "reads the proxies of the environment",
    }
    found = {
        (str(path), name)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        if name in others
    }
    assert found == set(reasons)
    reading = (ROOT / "autotune/tracking/run_addresses.py").read_text()
    assert not re.search(r"urlopen|build_opener|request\.Request", reading)


def test_types_say_what_a_value_is():
    sources = [path.read_text() for path in MODULES]
    anything = sum(len(re.findall(r"\bAny\b", source)) for source in sources)
    assert 1000 * anything / sum(source.count("\n") for source in sources) < 6


def test_modules_are_short_and_as_long_as_their_idea():
    sizes = sorted(len(p.read_text().splitlines()) for p in MODULES if p.name != "__init__.py")
    assert sizes[len(sizes) // 2] <= 160
    assert sizes[len(sizes) * 9 // 10] <= 300


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "tools"}
    names = {p.stem for p in MODULES} | {p.parent.name for p in MODULES}
    assert not names & drawers


def test_nothing_is_evaluated_pickled_or_given_to_a_shell():
    for path, node in ((path, node) for path, tree in trees() for node in ast.walk(tree)):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            owner = getattr(getattr(node.func, "value", None), "id", "")
            assert not (
                isinstance(node.func, ast.Name) and name in ("eval", "exec", "compile", "__import__")
            ), path
            assert (owner, name) not in {
                ("os", "system"),
                ("os", "popen"),
                ("yaml", "load"),
                ("yaml", "safe_load"),
            }, path
            assert not any(k.arg == "shell" and getattr(k.value, "value", None) for k in node.keywords), path
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "marshal", "shelve", "dill"} & set(names), path


def test_a_stored_study_file_is_read_as_values():
    """`autotune/spec/stored.py` gives the sections of what a ledger keeps."""

    def is_spec(node):
        return isinstance(node, ast.Attribute) and node.attr == "spec"

    plain = [
        f"{path}:{node.lineno}"
        for path, tree in trees()
        if path.parts[1] != "ledger"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Subscript) and is_spec(node.value))
        or (isinstance(node, ast.Attribute) and node.attr in ("get", "items") and is_spec(node.value))
        or (isinstance(node, ast.Dict) and None in node.keys and any(map(is_spec, node.values)))
    ]
    assert plain == []


def test_broad_handlers_say_why():
    for path in MODULES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if (
                re.search(r"except (Base)?Exception\b(?!\s*as\s+\w+:\s*#)", line)
                and "BaseException" not in line
            ):
                assert "noqa: BLE001 - " in line, f"{path}:{number}"


def test_no_test_imports_another_test_module():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        if re.match(r"test_|tests\..*\btest_", name)
    ]
    assert found == []


def test_every_package_says_what_it_is():
    for path in MODULES:
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_nothing_speaks_of_one_machine():
    forbidden = re.compile(r"/work/|/root/|/home/[a-z]|/Users/")
    for path in TEXT:
        if path.suffix in (".py", ".md", ".yaml", ".toml", ".txt", "") and path != Path(__file__):
            found = forbidden.search(path.read_text(errors="replace"))
            assert not found, f"{path}: {found.group()}"


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == autotune.__version__
    assert f"## {autotune.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_everything_public_exists_and_is_documented():
    for name in autotune.__all__:
        assert getattr(autotune, name) is not None
        if name != "__version__":
            assert getattr(autotune, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = autotune.nothing


def test_the_constraints_pin_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    pinned = {
        re.split(r"==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for requirement in wanted:
        assert re.split(r"[\[<>=!~ ]", requirement)[0].lower() in pinned, requirement
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()


def test_the_readmes_commands_exist():
    from autotune.cli.app import _COMMANDS

    text = (ROOT / "README.md").read_text()
    for command in re.findall(r"^autotune ([a-z-]+)", text, re.MULTILINE):
        assert command in _COMMANDS
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"^make ([a-z]+)", text, re.MULTILINE):
        assert target in targets
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link


OPTIMIZERS_ROOMS = re.compile(
    r"autotune/(?:engine|study|integrations|spec|analysis|ledger|testing)/|autotune/core/(?:trial|borrowed)\.py|"
    r"docs/(?:engine|optuna|plugins|glossary|architecture)\.md|examples/plugin/|benchmarks/"
)
"""Where `engine` is the optimizer: there only what a server alone has must not stand beside the word."""

OF_A_SERVER = re.compile(
    r"(?i:real|serving|served|installed|inference)\s+engines?\b|"
    r"\bengine's (?:own )?(?:default|flag|parser|log|preset|program|process|server|version)|"
    r"(?:version|upgrade|path|program|image|flags?)\s+of\s+(?:the|an|another|your)\s+engine|"
    r"(?:launch|start|serve|stop|kill)\w*\s+(?:the|an)\s+engine"
)
OF_THE_OPTIMIZER = (
    # keys, values, modules, links
    r"[\"'`]engine\b", r"\bengine[:=/]", r"autotune\.engine(?:\.base\.Engine)?",
    r"\"engines\": \"autotune\.engine", r"(?:spec|suggestion|: row)\.engine", r", engine \{row\.engine",
    r"engine\.md", r"\[[Tt]he engine\]", r"#engine", r"analysis > engine\b",
    # what it does, and what is done to it
    r"(?:asks|teach|teaches) the engine", r"engine (?:learns|estimates such|refines|searches)",
    r"an engine (?:models|proposes)", r"engine had predicted", r"told to the engine",
    r"(?:bounds?|;|measured:) to (?:an|the) engine",
    r"before the engine is", r"reaches the engine", r"the engines only ever see", r"engine's model says",
    # whose it is, and beside what it is told
    r"Gaussian-process \*\*engine", r"`gp` engine", r"the engine `gp`", r", engine gp \|", r"engine {4}gp",
    r"\b[Oo]ur engines?", r"name of an engine has", r"(?:new|list) engines?\b", r"an engine of your own",
    r"systems?\"?(?:,|\|) ?(?:an |\")?engines?\b", r"engines, systems", r"a system and an engine of one name",
    r"nothing reports,? (?:or )?an engine", r"objective and the engine, yes",
    r"choice of the engine is worth",
    r"the same engine, the same rules", r"An engine is a name", r"\*\*An engine\*\*", r"engines that propose",
    r"## engine",
    # of others: vLLM, SQLAlchemy, Weights & Biases
    r"Engine core init", r"vllm\.v1\.engine", r"LLM engine",
    r"\(\?:server\|engine\)", r"stor(?:e|age)\.engine",
    r"\bengine(?: = create_sqlalchemy_engine|\.connect|\.dispose)", r"\[its engines\]", r"configure-engine",
)  # fmt: skip
NAMES_WITH_IT = {
    "Engine", "ENGINES", "_ENGINES", "EngineContract", "engine_contract", "EngineConfig", "QuestionEngine",
    "MyEngine", "stored_engine", "test_engine_surrogates", "test_engine_acquisitions", "engines",
    "create_sqlalchemy_engine", "engine_kwargs", "EngineDeadError", "EngineCore", "servingEngineSpec",
    "EngineArgs", "AsyncEngineArgs",
}  # fmt: skip


def test_engine_is_the_word_of_the_optimizer():
    """What serves a model is a system, or a server (`docs/glossary.md`)."""
    found = []
    for path in TEXT:
        name = str(path.relative_to(ROOT))
        if path.suffix not in (".py", ".md", ".yaml", ".yml") or name.startswith(("tests/", "CHANGELOG")):
            continue
        text = re.sub(r"\n\s*(?:# )?", " ", path.read_text())
        if OPTIMIZERS_ROOMS.match(name):
            found += [f"{name}: {match[0]}" for match in OF_A_SERVER.finditer(text)]
            continue
        others = re.sub("|".join(OF_THE_OPTIMIZER), "...", text)
        found += [f"{name}: {match[0]}" for match in re.finditer(r".{,40}\b[Ee]ngines?\b.{,40}", others)]
        names = re.findall(r"\b\w+(?i:engine)\w*|\b(?i:engine)\w+", text)
        found += [f"{name}: {one}" for one in names if one not in NAMES_WITH_IT]
    assert found == [], "\n".join(found)
