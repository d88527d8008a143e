"""Compare the flags that ship with those of the newest published servers; no GPU is needed.

``python .ci/check_flags.py [SERVER ...]``: 0 if every flag of ours is there as it was, 1 if one is gone or
takes other values (new flags and defaults are told only), 3 if a server could not be looked at. Packages come
from pip, sources from git. Of servers that weigh gigabytes the text is read; small ones are installed and
asked, as ``autotune flags SERVER --installed`` does. ``--write`` makes the tables of what was found.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path

from published_flags.commands import tensorrt_llm, transformers_serve
from published_flags.other_languages import llama_cpp, ollama
from published_flags.python_source import SourceFlag
from published_flags.sglang import sglang
from published_flags.vllm import vllm

from autotune.errors import AutotuneError, EnvironmentProblem
from autotune.spec.catalogue import find, names
from autotune.spec.yaml_text import parse_text
from autotune.systems.served.drift import drift, installed
from autotune.systems.served.flags import Flag, FlagTable, table

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "autotune" / "systems" / "served" / "tables"
TIMEOUT_S = 1800.0
ALIKE = 0.6  # share of two names, above which the one is told to be the other's new name


@dataclass(frozen=True)
class Published:
    """Where the newest version of a server is and how its flags are read.

    Args:
        read: Gives the flags of a folder of sources; ``None`` where the server is installed and asked.
        package: Its package of Python.
        repository: Its repository of sources, where there is no package.
        paths: What is needed of the repository.
    """

    read: Callable[[Path], dict[str, SourceFlag]] | None = None
    package: str = ""
    repository: str = ""
    paths: tuple[str, ...] = ()


SERVERS = {
    "vllm": Published(vllm, "vllm"),
    "sglang": Published(sglang, "sglang"),
    "transformers_serve": Published(transformers_serve, "transformers"),
    "llama_cpp": Published(llama_cpp, repository="https://github.com/ggml-org/llama.cpp", paths=("common",)),
    "ollama": Published(ollama, repository="https://github.com/ollama/ollama", paths=("envconfig",)),
    "tensorrt_llm": Published(
        tensorrt_llm,
        repository="https://github.com/NVIDIA/TensorRT-LLM",
        paths=("tensorrt_llm/commands",),
    ),
    "openvino": Published(package="openvino-genai"),
    "onnxruntime": Published(package="onnxruntime"),
    "triton": Published(package="tritonclient[grpc]"),
}


@dataclass
class Comparison:
    """What is different in the newest version of one server.

    Args:
        server: Its name.
        shipped, published: Versions.
        lines: Changes, a line each.
        problem: Why the server could not be looked at; empty if it was.
    """

    server: str
    shipped: str
    published: str = ""
    lines: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def broken(self) -> list[str]:
        """Changes that make a study file wrong that was right: all but new flags and defaults."""
        return [line for line in self.lines if not line.split(": ")[1].startswith(("new,", "default "))]


def main(argv: list[str]) -> int:
    """Compare, print and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "servers", nargs="*", metavar="SERVER", help=f"of {', '.join(SERVERS)}; all by default"
    )
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="SERVER=PATH",
        help="a folder or file to read instead",
    )
    parser.add_argument("--summary", type=Path, help="write Markdown for an issue to a file")
    parser.add_argument("--write", action="store_true", help="write the tables anew")
    asked = parser.parse_args(argv)
    sources = {name: Path(path) for name, _, path in (text.partition("=") for text in asked.source)}
    for name in (*asked.servers, *sources):
        if name not in SERVERS:
            parser.error(f"no server {name!r}; allowed: {', '.join(SERVERS)}")
    found = []
    for server in asked.servers or list(SERVERS):
        shipped = table(server)
        compared = Comparison(server, shipped.version)
        try:
            published = newest(server, shipped, sources.get(server))
        except (AutotuneError, OSError, subprocess.SubprocessError, LookupError, StopIteration) as error:
            compared.problem = f"{type(error).__name__}: {error}"
        else:
            compared.published = published.version
            compared.lines = with_new_names(drift(shipped, published), shipped, published)
            if asked.write and compared.lines:
                (TABLES / f"{server}.json").write_text(published.to_json(), encoding="utf-8")
        found.append(compared)
        print("\n".join(text_of(compared)), flush=True)
    if asked.summary is not None:
        asked.summary.write_text(markdown(found), encoding="utf-8")
    return 1 if any(one.broken for one in found) else 3 if any(one.problem for one in found) else 0


def newest(server: str, shipped: FlagTable, source: Path | None = None) -> FlagTable:
    """Return the flags of a server's newest version; what its text leaves open is as it ships.

    Args:
        server: One of :data:`SERVERS`.
        shipped: The table of ours.
        source: A folder of sources, or an archive of them, instead of what is published.
    """
    published = SERVERS[server]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if published.read is None:
            return _asked(server, published.package, work)
        if source is not None and source.is_dir():
            folder, version = source, "unknown"
        elif source is not None:
            folder, version = _unpacked(source, work), _version_of(source.name)
        elif published.package:
            wheel = _download(published.package, work)
            folder, version = _unpacked(wheel, work), _version_of(wheel.name)
        else:
            folder, version = _cloned(published, work)
        read = published.read(folder)
    flags = {name: _completed(one, shipped) for name, one in read.items()}
    text = f"the source text of {published.package or published.repository}"
    return FlagTable(server, version, text, {flag.name: flag for flag in flags.values()})


def _completed(found: SourceFlag, shipped: FlagTable) -> Flag:
    """Return a flag with what its text leaves open, its help and the order of its choices as they ship."""
    known = shipped.flags.get(found.flag.name)
    if known is None:
        return found.flag
    same = sorted(found.flag.choices or ()) == sorted(known.choices or ())
    kept = {*found.unknown, "help", *(["choices"] if same else [])}
    return replace(found.flag, **{key: getattr(known, key) for key in kept})


def _run(argv: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(f"cannot run {argv[0]}: {error}") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise EnvironmentProblem(f"`{' '.join(argv[:6])}` ended with {done.returncode}: {last}")
    return done.stdout.strip()


def _download(package: str, work: Path) -> Path:
    """Return the newest wheel of a package."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    _run([*pip, "--dest", str(work / "wheel"), package])
    return next((work / "wheel").glob("*.whl"))


def _unpacked(archive: Path, work: Path) -> Path:
    """Return a folder with the texts of a wheel or of an archive of sources."""
    folder = work / "source"
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.endswith(".py")])
    else:
        shutil.unpack_archive(archive, folder, filter="data")
    return folder


def _version_of(name: str) -> str:
    """Return the version in the name of a distribution's file."""
    return name.removesuffix(".tar.gz").split("-")[-1 if name.endswith(".tar.gz") else 1]


def _cloned(published: Published, work: Path) -> tuple[Path, str]:
    """Return a checkout of a repository's newest commit, of what is needed only, and the commit."""
    folder = work / "source"
    clone = ["git", "clone", "--quiet", "--depth", "1", "--filter=blob:none", "--sparse"]
    _run([*clone, published.repository, str(folder)])
    _run(["git", "sparse-checkout", "set", *published.paths], folder)
    return folder, "commit " + _run(["git", "rev-parse", "--short=7", "HEAD"], folder)


def _asked(server: str, package: str, work: Path) -> FlagTable:
    """Return the flags of a small server, installed for this."""
    venv.create(work / "env", with_pip=True)
    python = work / "env" / "bin" / "python"
    _run([str(python), "-m", "pip", "install", "--quiet", package])
    return installed(server, str(python))


def with_new_names(lines: list[str], shipped: FlagTable, published: FlagTable) -> list[str]:
    """Return the changes, those of flags that are gone with the new flag that may be meant."""
    new = [flag for name, flag in published.flags.items() if name not in shipped.flags]
    result = []
    for line in lines:
        name, _, change = line.partition(": ")
        gone = shipped.flags.get(name) if change.startswith("gone") else None
        alike = [
            (SequenceMatcher(None, name, flag.name).ratio(), flag.flag)
            for flag in new
            if gone is not None and flag.kind == gone.kind
        ]
        share, other = max(alike, default=(0.0, ""))
        result.append(f"{line}; renamed to {other}?" if share >= ALIKE else line)
    return result


def offered(server: str) -> Mapping[str, list[str]]:
    """Return the parameters of the search spaces that ship for a server, and which spaces have each."""
    found: dict[str, list[str]] = {}
    for name in names("search_spaces"):
        file = find("search_spaces", name)
        space = parse_text(file.read_text(encoding="utf-8"), str(file)).data
        if space.get("system", {}).get("use") == server:
            for parameter in space["parameters"]:
                found.setdefault(parameter, []).append(name)
    return found


def text_of(found: Comparison) -> list[str]:
    """Return what is printed of one server."""
    if found.problem:
        return [f"{found.server}: {found.shipped} shipped, not looked at: {found.problem}"]
    head = f"{found.server}: {found.shipped} shipped, {found.published} published"
    told = f"{len(found.lines)} changes, {len(found.broken)} of what a study may have set"
    return [f"{head}, {told}", *(f"  {line}" for line in found.lines)]


def markdown(found: list[Comparison]) -> str:
    """Return the summary for an issue: what has to be mended first."""
    lines = ["## Flags of the newest servers", ""]
    for one in found:
        if not one.lines and not one.problem:
            continue
        lines += [f"### {one.server}: {one.shipped} -> {one.published or 'unknown'}", ""]
        if one.problem:
            lines += [f"Not looked at: {one.problem}", ""]
            continue
        spaces = offered(one.server)
        for title, listed in (
            ("Gone or changed", one.broken),
            ("New flags and defaults", [line for line in one.lines if line not in one.broken]),
        ):
            if listed:
                lines += [f"{title}:", ""]
                for line in listed:
                    name, _, change = line.partition(": ")
                    where = ", ".join(f"search_spaces/{space}.yaml" for space in spaces.get(name, ()))
                    lines.append(f"- `{name}`: {change}" + (f" (**{where}**)" if where else ""))
                lines.append("")
        lines += [f"`python .ci/check_flags.py {one.server} --write` writes the table.", ""]
    same = [f"{one.server} {one.published}" for one in found if not one.lines and not one.problem]
    return "\n".join([*lines, f"As they ship: {', '.join(same) or 'none'}.", ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
