"""A small trained pair, made once, and servers that run it with a configuration."""

import contextlib
import json
import time
from pathlib import Path

import pytest

from autotune.core.environment import server_environment
from autotune.executor.process import SupervisedProcess
from autotune.measure.workload import Workload
from autotune.systems.base import NotReady
from autotune.systems.transformers.make_model import HELD_OUT, Shape, make_model
from autotune.systems.transformers.system import TransformersSystem

TARGET = Shape(
    hidden=64, layers=2, heads=4, intermediate=128, steps=150, batch=8, sequence=64, learning_rate=5e-3
)
DRAFT = Shape(
    hidden=32, layers=1, heads=2, intermediate=64, steps=150, batch=8, sequence=64, learning_rate=8e-3
)
WORKLOAD = Workload.from_dict({"prompt_tokens": 24, "output_tokens": 20})


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Folders of the trained target and draft; lines that the making logged."""
    lines = []
    paths = make_model(tmp_path_factory.mktemp("models"), target=TARGET, draft=DRAFT, log=lines.append)
    return paths, lines


@pytest.fixture(scope="session")
def system(pair):
    paths, _ = pair
    return TransformersSystem.from_dict(
        {
            "model": str(paths.target),
            "draft_model": str(paths.draft),
            "device": "cpu",
            "perplexity_text": str(paths.target / HELD_OUT),
        }
    )


@contextlib.contextmanager
def launched(system, config, folder):
    """Run a server and give its driver and its process."""
    folder.mkdir(parents=True, exist_ok=True)
    command = system.command(config, folder)
    process = SupervisedProcess(
        command.argv, env=server_environment(command.env), log=folder / "server.log", cwd=folder,
        mark="test/s/0/1", grace_s=2.0,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 800
        while True:
            try:
                driver = system.connect(folder, deadline)
                break
            except NotReady:
                log = (folder / "server.log").read_text() if (folder / "server.log").exists() else ""
                assert process.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.1)
        try:
            yield driver, process
        finally:
            driver.close()
    finally:
        process.stop()


@pytest.fixture(scope="session")
def observed(system, tmp_path_factory):
    """What a configuration does when it really runs; each is launched once."""
    known = {}

    def observe(**config):
        key = json.dumps(config, sort_keys=True)
        if key not in known:
            folder = tmp_path_factory.mktemp("server")
            deadline = time.monotonic() + 800
            with launched(system, config, Path(folder)) as (driver, process):
                requests = WORKLOAD.batch(0, system.batch_size(config))
                records = driver.generate(requests, deadline)
                tokens = driver.tokens(requests, deadline)
                known[key] = {
                    "facts": driver.facts(),
                    "records": records,
                    "tokens": tokens,
                    "metrics": driver.metrics(deadline),
                    "log": (folder / "server.log").read_text(),
                    "pid": process.pid,
                }
        return known[key]

    return observe
