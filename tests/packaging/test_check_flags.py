"""Flags of published servers, read from small packages and repositories made for these tests."""

import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.errors import EnvironmentProblem
from autotune.systems.served.drift import installed
from autotune.systems.served.flags import Flag, FlagTable

CI = Path(__file__).resolve().parents[2] / ".ci"

VLLM = {
    "vllm/config/cache.py": '''
from dataclasses import field
from typing import Literal
from vllm.config.kinds import Backend
Mode = Literal["none", "align"]

@config
class OffloadConfig:
    gb: float = 0

@config
class CacheConfig:
    block_size: int | None = None
    """Tokens of a block. Fewer is finer."""
    mode: Mode | None = None
    dtype: Literal["fp8", "auto"] | str = "auto"
    share: float = 0.9
    prefix: bool = True
    sizes: list[int] = field(default_factory=list)
    offload: OffloadConfig | None = None
    extra: dict[str, str] | None = None
    backend: Backend = "triton"
    tokens: int = 2048
    late: int = later()
''',
    "vllm/config/kinds.py": "from .more import *\n",
    "vllm/config/more.py": """
from typing import Literal
Old = Literal["triton"]
Backend = Literal[Old, "cutlass", "gone"]
""",
    "vllm/engine/arg_utils.py": """
def get_kwargs(cls):
    human_readable_int_args = {"tokens"}

class EngineArgs:
    @staticmethod
    def add_cli_args(parser):
        cache = get_kwargs(CacheConfig)
        group = parser.add_argument_group(title="CacheConfig")
        group.add_argument("--block-size", "-b", **cache["block_size"])
        group.add_argument("--mode", **{**cache["mode"], "default": None})
        group.add_argument("--kv-dtype", **cache["dtype"])
        for_share = cache["share"]
        group.add_argument("--share", **for_share)
        group.add_argument("--prefix", **cache["prefix"])
        group.add_argument("--sizes", **cache["sizes"])
        group.add_argument("--offload", **cache["offload"])
        group.add_argument("--extra", **cache["extra"])
        cache["backend"]["choices"].remove("gone")
        group.add_argument("--backend", **cache["backend"])
        group.add_argument("--tokens", **cache["tokens"])
        group.add_argument("--late", **cache["late"])
        parser.add_argument("--quiet", action="store_true", help="Say less.")
        parser.add_argument("--shortcut", default=argparse.SUPPRESS)
        return parser

class AsyncEngineArgs(EngineArgs):
    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--log", action=argparse.BooleanOptionalAction, default=False)
""",
    "vllm/entrypoints/common/cli_args.py": """
@config
class FrontendArgs:
    port: int = 8000
    origins: list[str] = field(default_factory=list)
    def customize(cls, kwargs):
        kwargs["origins"]["type"] = json.loads

def make_arg_parser(parser):
    parser.add_argument("model_tag", type=str)
    parser.add_argument("--grpc", action="store_true", default=False)
""",
}
OF_VLLM = {  # kind, default, choices; "?" is left open by the text
    "block_size": ("int", None, None),
    "mode": ("text", None, ("align", "none")),
    "kv_dtype": ("text", "auto", None),
    "share": ("float", 0.9, None),
    "prefix": ("toggle", True, None),
    "sizes": ("int", None, None),
    "offload": ("json", None, None),
    "extra": ("json", None, None),
    "backend": ("text", "triton", ("cutlass", "triton")),
    "tokens": ("int", 2048, None),
    "late": ("int", "?", None),
    "quiet": ("switch", False, None),
    "log": ("toggle", False, None),
    "port": ("int", 8000, None),
    "origins": ("?", None, None),
    "grpc": ("switch", False, None),
}

SGLANG = {
    "sglang/srt/arg_groups/choices.py": 'BACKENDS = ["triton", "fa3"]\n',
    "sglang/srt/arg_groups/fields/memory.py": """
class Memory(msgspec.Struct):
    page: A[Optional[int], "Tokens of a page."] = None
    share: A[Optional[float], Arg(help="Share.", resolvable=True)] = None
    backend: A[str, Arg(help="Kernel.", choices=["auto"] + BACKENDS)] = "auto"
    policy: A[Literal["lru", "lfu"], "Eviction."] = "lru"
    mixed: A[bool, "Mix."] = False
    names: A[Optional[List[str]], "Names."] = None
    size: A[int, Arg(help="Parts.", cli_name="--tensor-size")] = 1
    hidden: A[bool, Arg(no_cli=True)] = False
    plain: int = 3
""",
    "sglang/srt/server_args.py": """
class ServerArgs:
    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--parser", type=str, choices=computed(), default=None)
""",
}
OF_SGLANG = {
    "page": ("int", None, None),
    "share": ("float", None, None),
    "backend": ("text", "auto", ("auto", "triton", "fa3")),
    "policy": ("text", "lru", ("lru", "lfu")),
    "mixed": ("switch", False, None),
    "names": ("text", None, None),
    "tensor_size": ("int", 1, None),
    "parser": ("text", None, "?"),
}

TRANSFORMERS = {
    "transformers/cli/serve.py": """
class Mode(Enum):
    ON = "on"
    OFF = "off"

class Serve:
    def __init__(
        self,
        model: Annotated[str | None, typer.Argument(help="Model.")] = None,
        batching: Annotated[bool, typer.Option(help="Batch.")] = False,
        blocks: Annotated[int | None, typer.Option(help="Blocks.")] = None,
        mode: Annotated[Mode, typer.Option(help="Mode.")] = Mode.ON.value,
        test: Annotated[bool, typer.Option(hidden=True)] = False,
    ) -> None: ...
"""
}
OF_TRANSFORMERS = {
    "batching": ("toggle", False, None),
    "blocks": ("int", None, None),
    "mode": ("text", "?", ("on", "off")),
}

TENSORRT = {
    "tensorrt_llm/commands/serve.py": """
@click.command("serve")
@click.argument("model", type=str)
@click.option("--backend", type=click.Choice(["pytorch", "trt"]), default="pytorch", help="Backend.")
@click.option("--tp_size", type=int, default=1, help="Parts.")
@click.option("--chunked", is_flag=True, default=False, help="Chunk.")
@click.option("--beams", type=int, default=Config.beams, help="Beams.")
def serve(model): ...
"""
}
OF_TENSORRT = {
    "backend": ("text", "pytorch", ("pytorch", "trt")),
    "tp_size": ("int", 1, None),
    "chunked": ("switch", False, None),
    "beams": ("int", "?", None),
}

LLAMA_CPP = {
    "common/arg.cpp": r"""
    // add_opt(common_arg({"--never"}, "N", "a comment", [](int) {}));
    add_opt(common_arg(
        {"-t", "--threads"}, "N",
        string_format("threads, all of them \"here\" (default: %d)", params.n),
        [](common_params & params, int value) { params.n = {value, 1}; }
    ).set_env("LLAMA_ARG_THREADS"));
    add_opt(common_arg({"--temp"}, "N", string_format("heat (default: %.2f)", params.t), [](int v) {}));
    add_opt(common_arg(
        {"--kv"}, {"--no-kv"}, string_format("offload (default: %s)", p.no ? "off" : "enabled"), [](bool v) {}
    ));
    add_opt(common_arg(
        {"--pool"}, "{none,mean}", "pooling", [](int v) {}).set_examples({LLAMA_EXAMPLE_SERVER}));
    add_opt(common_arg({"--type"}, "TYPE",
        string_format("kind\nallowed values: %s", kinds().c_str()), [](int v) {}));
    add_opt(common_arg({"--spec"}, all_kinds(), "drafts", [](int v) {}));
    add_opt(common_arg({"--swa"}, "full cache (default: false)", [](common_params & p) {}));
    add_opt(common_arg({"--chat"}, "not of servers", [](int) {}).set_examples({LLAMA_EXAMPLE_CLI}));
    add_opt(common_arg({"-p", "--prompt"}, "P", "neither", [](int) {}).set_excludes({LLAMA_EXAMPLE_SERVER}));
"""
}
OF_LLAMA_CPP = {
    "threads": ("int", "?", None),
    "temp": ("float", "?", None),
    "kv": ("toggle", "?", None),
    "pool": ("text", None, ("none", "mean")),
    "type": ("text", "?", "?"),
    "spec": ("text", None, "?"),
    "swa": ("switch", False, None),
}

OLLAMA = {
    "envconfig/config.go": r"""
func AsMap() map[string]EnvVar {
	ret := map[string]EnvVar{
		"OLLAMA_HOST":   {"OLLAMA_HOST", Host(), "Address (default 127.0.0.1:11434)"},
		"LLAMA_ARG_FIT": {"LLAMA_ARG_FIT", String("LLAMA_ARG_FIT")(), "Fit (default \"on\")"},
		"HTTP_PROXY":    {"HTTP_PROXY", String("HTTP_PROXY")(), "HTTP proxy"},
	}
	if runtime.GOOS != "darwin" {
		ret["OLLAMA_VULKAN"] = EnvVar{"OLLAMA_VULKAN", EnableVulkan(), "Enable Vulkan"}
	}
"""
}
OF_OLLAMA = {"ollama_host": ("?", "?", "?"), "llama_arg_fit": ("?", "?", "?")}

CASES = {
    "vllm": (VLLM, OF_VLLM),
    "sglang": (SGLANG, OF_SGLANG),
    "transformers_serve": (TRANSFORMERS, OF_TRANSFORMERS),
    "tensorrt_llm": (TENSORRT, OF_TENSORRT),
    "llama_cpp": (LLAMA_CPP, OF_LLAMA_CPP),
    "ollama": (OLLAMA, OF_OLLAMA),
}


@pytest.fixture(scope="module")
def check_flags():
    sys.path.insert(0, str(CI))
    try:
        import check_flags as module
    finally:
        sys.path.remove(str(CI))
    return module


def folder_of(files, root):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def wheel_of(files, path):
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr("package/kernels.so", "not unpacked")
    return path


@pytest.mark.parametrize("server", CASES)
def test_flags_are_read_from_source_text(server, check_flags, tmp_path):
    files, expected = CASES[server]
    found = check_flags.SERVERS[server].read(folder_of(files, tmp_path))
    shown = {}
    for name, one in found.items():
        known = {
            key: "?" if key in one.unknown else getattr(one.flag, key)
            for key in ("kind", "default", "choices")
        }
        shown[name] = tuple(known.values())
    assert shown == expected


def shipped_of(check_flags, files, root, **changes):
    """Return the table of what the text says, some flags replaced (or left out: ``None``)."""
    read = check_flags.SERVERS["vllm"].read(folder_of(files, root))
    flags = {name: replace(one.flag, help="as it ships") for name, one in read.items()} | changes
    return FlagTable("vllm", "0.1.0", "a test", {name: flag for name, flag in flags.items() if flag})


def compare(check_flags, monkeypatch, shipped, source, summary):
    monkeypatch.setattr(check_flags, "table", lambda server: shipped)
    argv = ["vllm", "--source", f"vllm={source}", "--summary", str(summary)]
    return check_flags.main(argv), summary.read_text()


def test_what_is_gone_or_changed_fails_and_is_told(check_flags, tmp_path, monkeypatch, capsys):
    shipped = shipped_of(
        check_flags, VLLM, tmp_path / "old",
        prefix=None, prefixes=Flag("prefixes", "--prefixes", "toggle", True),
        block_size=Flag("block_size", "--block-size", "float"),
        backend=Flag("backend", "--backend", "text", "triton", ("triton", "flash")),
        max_num_seqs=Flag("max_num_seqs", "--max-num-seqs", "int"),
        late=Flag("late", "--late", "int", 7),
    )  # fmt: skip
    wheel = wheel_of(VLLM, tmp_path / "vllm-0.2.0-py3-none-any.whl")
    code, summary = compare(check_flags, monkeypatch, shipped, wheel, tmp_path / "flags.md")
    assert code == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == (
        "vllm: 0.1.0 shipped, 0.2.0 published, 5 changes, 4 of what a study may have set"
    )
    for line in (
        "backend: choices gained cutlass and lost flash",
        "block_size: kind 'float' -> 'int'",
        "max_num_seqs: gone, was --max-num-seqs",
        "prefix: new, --prefix, toggle, default True",
        "prefixes: gone, was --prefixes; renamed to --prefix?",
    ):
        assert f"  {line}\n" in printed
    # what the text leaves open is no change; what a shipped space sets is told with its file
    assert "late" not in summary
    assert "- `max_num_seqs`: gone, was --max-num-seqs (**search_spaces/" in summary
    assert summary.index("Gone or changed:") < summary.index("- `backend`") < summary.index("New flags")


def test_new_flags_and_defaults_are_told_and_fail_nothing(check_flags, tmp_path, monkeypatch):
    shipped = shipped_of(
        check_flags, VLLM, tmp_path / "old", grpc=None, port=Flag("port", "--port", "int", 80)
    )
    wheel = wheel_of(VLLM, tmp_path / "vllm-0.2.0-py3-none-any.whl")
    code, summary = compare(check_flags, monkeypatch, shipped, wheel, tmp_path / "flags.md")
    assert code == 0
    assert "- `grpc`: new, --grpc, switch, default False" in summary
    assert "- `port`: default 80 -> 8000" in summary
    same = shipped_of(check_flags, VLLM, tmp_path / "old")
    code, summary = compare(check_flags, monkeypatch, same, tmp_path / "old", tmp_path / "flags.md")
    assert (code, "As they ship: vllm unknown." in summary) == (0, True)


def test_the_table_that_is_written_keeps_what_the_text_leaves_open(check_flags, tmp_path, monkeypatch):
    late = Flag("late", "--late", "int", 7, None, "as it ships")
    shipped = shipped_of(check_flags, VLLM, tmp_path / "old", grpc=None, late=late)
    monkeypatch.setattr(check_flags, "table", lambda server: shipped)
    monkeypatch.setattr(check_flags, "TABLES", tmp_path)
    assert check_flags.main(["vllm", "--source", f"vllm={tmp_path / 'old'}", "--write"]) == 0
    written = FlagTable.from_dict(json.loads((tmp_path / "vllm.json").read_text()))
    assert written.flags == {**shipped.flags, "grpc": Flag("grpc", "--grpc", "switch", False)}
    assert written.flags["late"] == late


def test_sources_are_cloned_or_unpacked(check_flags, tmp_path, monkeypatch):
    repository = folder_of({**OLLAMA, "large/file.bin": "not needed"}, tmp_path / "repository")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "a"]):
        subprocess.run([*git, *words], cwd=repository, check=True)
    place = replace(check_flags.SERVERS["ollama"], repository=repository.as_uri())
    monkeypatch.setitem(check_flags.SERVERS, "ollama", place)
    found = check_flags.newest("ollama", FlagTable("ollama", "1", "a test", {}))
    assert set(found.flags) == set(OF_OLLAMA)
    assert (
        found.version.removeprefix("commit ")
        in subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
        ).stdout
    )
    with tarfile.open(tmp_path / "llama_cpp_python-0.4.0.tar.gz", "w:gz") as archive:
        archive.add(folder_of(LLAMA_CPP, tmp_path / "vendor"), "llama_cpp_python-0.4.0/vendor/llama.cpp")
    shipped = FlagTable("llama_cpp", "1", "a test", {})
    found = check_flags.newest("llama_cpp", shipped, tmp_path / "llama_cpp_python-0.4.0.tar.gz")
    assert (set(found.flags), found.version) == (set(OF_LLAMA_CPP), "0.4.0")


def test_a_server_that_cannot_be_looked_at_is_said(check_flags, tmp_path, monkeypatch, capsys):
    place = replace(check_flags.SERVERS["ollama"], repository=(tmp_path / "nowhere").as_uri())
    monkeypatch.setitem(check_flags.SERVERS, "ollama", place)
    assert check_flags.main(["ollama"]) == 3
    assert (
        "ollama: 0.33.0-rc2 shipped, not looked at: EnvironmentProblem: `git clone" in capsys.readouterr().out
    )
    with pytest.raises(SystemExit):
        check_flags.main(["olama"])
    assert "no server 'olama'; allowed: vllm" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["common", "launchers", "openai"])
def test_an_installed_vllm_is_asked_wherever_it_keeps_its_arguments(place, tmp_path, monkeypatch):
    reader = """
import argparse, json
def parse_type(kind):
    def _parse_type(text): return kind(text)
    return _parse_type
def optional_type(kind):
    def _optional_type(text): return kind(text)
    return _optional_type
def make_arg_parser(parser):
    parser.add_argument("--extra", type=optional_type(parse_type(json.loads)))
    parser.add_argument("--seqs", type=optional_type(int))
    return parser
"""
    folder_of(
        {
            f"vllm/entrypoints/{place}/cli_args.py": reader,
            "vllm/utils/argparse_utils.py": "from argparse import ArgumentParser as FlexibleArgumentParser\n",
        },
        tmp_path,
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = installed("vllm", sys.executable)
    assert {name: flag.kind for name, flag in found.flags.items()} == {"extra": "json", "seqs": "int"}
    (tmp_path / f"vllm/entrypoints/{place}/cli_args.py").unlink()
    with pytest.raises(EnvironmentProblem):
        installed("vllm", sys.executable)
