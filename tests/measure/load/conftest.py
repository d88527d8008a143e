"""A stub server in a process of its own, and loads against it."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from autotune.core.endpoint import Endpoint
from autotune.measure.load.base import REALTIME, LoadPlan
from autotune.measure.load.generator import OwnGenerator
from autotune.measure.workload import Workload

STUB = Path(__file__).with_name("stub_server.py")
ROOT = Path(__file__).resolve().parents[3]


class Stub:
    def __init__(self, process, log):
        self.process, self.log_path = process, log
        self.port = int(process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def endpoint(self, *, chat=False, tokenize="", headers=None, body=None, **stub):
        path = "/v1/chat/completions" if chat else "/v1/completions"
        fields = {"ignore_eos": True, "stub": stub} | (body or {})
        return Endpoint(self.url, "stub", path, fields, headers or {}, tokenize)

    def end(self):
        """Let the server end and return what it noted."""
        self.process.stdin.close()
        self.process.wait(20)
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


@pytest.fixture
def stub(tmp_path):
    log = tmp_path / "stub.log"
    with subprocess.Popen(
        [sys.executable, str(STUB), "{}", str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    ) as process:
        yield Stub(process, log)
        process.kill()


@contextmanager
def start_load(endpoint, workload, *, rate=None, concurrency=None, stream="measured", **options):
    load = OwnGenerator(**options).start(
        LoadPlan(endpoint, Workload.from_dict(workload), rate, concurrency, stream, REALTIME)
    )
    try:
        yield load
    finally:
        load.stop(0.0)


def collect_records(load, count, seconds=30.0):
    """Return at least ``count`` records, or what there is after ``seconds``."""
    records, deadline = [], time.monotonic() + seconds
    while len(records) < count and time.monotonic() < deadline and not load.ended:
        records += load.poll(0.2)
    return records


@pytest.fixture
def loading():
    return start_load


@pytest.fixture
def collect():
    return collect_records
