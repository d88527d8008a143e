"""The servers' own parsers accept what the catalogue sends them, and their flags have not drifted.

Run with ``pytest -m servers``, naming what is installed: ``AUTOTUNE_VLLM``, ``AUTOTUNE_SGLANG``,
``AUTOTUNE_OPENVINO``, ``AUTOTUNE_TRITON``, ``AUTOTUNE_ONNXRUNTIME`` (the Python that has it),
``AUTOTUNE_LLAMA_CPP`` (``llama-server``).
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from autotune.spec.catalogue import names
from autotune.systems.base import launched_config
from autotune.systems.served.drift import drift, installed
from autotune.systems.served.flags import table
from autotune.systems.served.system import ServedSystem
from tests_catalogue import read_space

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
PARSERS = Path(__file__).with_name("server_parsers.py")
SERVERS = ("vllm", "sglang", "openvino", "onnxruntime", "triton", "llama_cpp")


def program(server):
    found = os.environ.get(f"AUTOTUNE_{server.upper()}")
    if not found:
        pytest.skip(f"AUTOTUNE_{server.upper()} names no installed {server}")
    return found


def words(system, config):
    """Return the words of a launch but for where it listens."""
    listens = len(system.port_words) if system.name != "onnxruntime" else 0
    found = system.launch_words(config, 1)
    return found[: len(found) - listens]


def launches(server):
    """Return the default and fifty random launches of every shipped space of a server."""
    cases = []
    for name in names("search_spaces"):
        space, system = read_space(name)
        if not isinstance(system, ServedSystem) or system.name != server:
            continue
        for config in [space.default_config, *space.sample(50, np.random.default_rng(1))]:
            values = launched_config(system, config, space.derived)
            cases.append({"argv": words(system, values), "files": system.files(values)})
    return cases


@pytest.mark.parametrize("server", SERVERS)
def test_the_flags_have_not_drifted(server):
    assert drift(table(server), installed(server, program(server))) == []


@pytest.mark.parametrize("server", ["vllm", "sglang", "openvino", "triton"])
def test_the_servers_parser_accepts_the_catalogue(server):
    cases = launches(server)
    assert len(cases) >= 51
    done = subprocess.run(
        [program(server), str(PARSERS), server],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout.strip().rpartition("\n")[2])
    refused = [(answer, case) for answer, case in zip(answers, cases, strict=True) if answer]
    assert refused == []


def test_llama_server_accepts_the_catalogue(tmp_path):
    for case in launches("llama_cpp"):
        argv = [program("llama_cpp"), *case["argv"][1:], "--no-webui", "--port", "1"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
        # it gets as far as the model, which is not there
        assert "MODEL" in done.stderr, (case["argv"], done.stderr[-400:])
        assert "error while handling argument" not in done.stderr
        assert "invalid argument" not in done.stderr
