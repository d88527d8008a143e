"""Servers under load, each on its own core, and what their own logs say of every request."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

import psutil

from autotune.systems.served.tiny import make_tiny_files

ROOT = Path(__file__).resolve().parents[2]
SERVER_CORE, CLIENT_CORE = 0, 1
START_S = 60.0
LLAMA_SLOTS, LLAMA_CONTEXT = 32, 512
_LINE = re.compile(r"^(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) I slot +(\S+): id +\d+ \| task (\d+) \| (.*)")
_TIMING = re.compile(r"eval time = +([\d.]+) ms / +(\d+) tokens")

TOKENIZER: dict[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
}  # fmt: skip
"""For clients that want a tokenizer even where the server counts: it splits at spaces."""


@dataclass(frozen=True)
class Row:
    """What a server's log says of one request, or a client's record of it.

    Args:
        begun_ns: When it was read, or sent; monotonic clock.
        tokens_ns: When each of its tokens was written, or came.
        late_ns: How much later than intended its tokens were written, on average; of the stub only.
    """

    begun_ns: int
    tokens_ns: tuple[int, ...]
    late_ns: float = 0.0


@dataclass
class Server:
    """A server that runs.

    Args:
        url: Scheme, host and port.
        model: Its name.
        tokenizer: Folder of a tokenizer.
        process: Its process.
        begun: Whether a request of a load has come.
        rows: One per request, once it has stopped.
    """

    url: str
    model: str
    tokenizer: Path
    process: subprocess.Popen[Any]
    begun: Callable[[], bool]
    rows: list[Row] = field(default_factory=list)


def pin_to(core: int) -> None:
    """Bind this process to a core."""
    os.sched_setaffinity(0, {core})


@contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """Let what is started within have these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin_tree_to(root: int, core: int) -> None:
    """Bind a process, all below it and all their threads to a core; what they start later inherits that."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(root)
        for process in [top, *top.children(recursive=True)]:
            for thread in Path(f"/proc/{process.pid}/task").glob("*"):
                with contextlib.suppress(OSError):  # it has ended
                    os.sched_setaffinity(int(thread.name), {core})


@contextmanager
def stub(delays: dict[str, float], folder: Path) -> Iterator[Server]:
    """Run the stub.

    Args:
        delays: Medians of the time to the first token and between tokens in seconds, and their spread.
        folder: For its log.
    """
    log = folder / "stub.jsonl"
    with on_cores(SERVER_CORE):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load.stub", json.dumps(delays), str(log)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    heard = process.stdout
    server = Server("", "stub", write_tokenizer(folder), process, lambda: bool(select([heard], [], [], 0)[0]))
    try:
        server.url = f"http://127.0.0.1:{int(heard.readline())}"
        yield server
    finally:
        process.stdin.close()
        process.wait(START_S)
        heard.close()
    with log.open() as file:
        server.rows = [stub_row(json.loads(line)) for line in file]


def stub_row(line: dict[str, Any]) -> Row:
    """Return the row of one line of the stub's log."""
    written, due = line["written_ns"], line["due_ns"]
    late = sum(w - d for w, d in zip(written, due, strict=True)) / len(due) if due else 0.0
    return Row(line["read_ns"], tuple(written), late)


def write_tokenizer(folder: Path) -> Path:
    """Write the tokenizer of the stub and return its folder."""
    home = folder / "tokenizer"
    home.mkdir(exist_ok=True)
    (home / "tokenizer.json").write_text(json.dumps(TOKENIZER), encoding="utf-8")
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (home / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")
    (home / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    return home


@contextmanager
def llama_cpp(program: str, folder: Path) -> Iterator[Server]:
    """Run ``llama-server`` with the small trained model, one thread, prompts never cached.

    Args:
        program: The server.
        folder: For its log.
    """
    files = make_tiny_files()
    log, port = folder / "llama.log", _free_port()
    with log.open("wb") as out, on_cores(SERVER_CORE):
        began_ns = time.monotonic_ns()
        process = subprocess.Popen(
            [program, "--model", str(files.gguf("Q8_0")), "--alias", "tiny", "--port", str(port),
             "--parallel", str(LLAMA_SLOTS), "--threads", "1", "--ctx-size", str(LLAMA_SLOTS * LLAMA_CONTEXT),
             "--no-cache-prompt", "--log-timestamps"],
            stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = Server(f"http://127.0.0.1:{port}", "tiny", files.pair.target, process,
                    lambda: b"processing task" in log.read_bytes())  # fmt: skip
    try:
        _wait_for(server.url + "/health", process)
        yield server
    finally:
        process.terminate()
        process.wait(START_S)
    server.rows = llama_rows(log.read_text(errors="replace"), began_ns)


def llama_rows(text: str, began_ns: int) -> list[Row]:
    """Return what a log of ``llama-server`` says of the requests that ended.

    It begins a request when a slot takes it and times its prompt and its tokens together; tokens between the
    first and the last are taken to be even.

    Args:
        text: With timestamps, which count from the start of the process.
        began_ns: When that was, monotonic clock.
    """
    rows: list[Row] = []
    begun: dict[str, int] = {}
    timed: dict[str, list[tuple[float, int]]] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        minutes, seconds, ms, us, _, task, what = found.groups()
        at_ns = began_ns + (((int(minutes) * 60 + int(seconds)) * 1000 + int(ms)) * 1000 + int(us)) * 1000
        if what.startswith("processing task"):
            begun[task] = at_ns
        elif (timing := _TIMING.search(what)) is not None:
            timed.setdefault(task, []).append((float(timing[1]) * 1e6, int(timing[2])))
        elif what.startswith("stop processing") and task in begun and len(timed.get(task, ())) == 2:
            (prompt_ns, _), (tokens_ns, count) = timed[task]
            first = begun[task] + prompt_ns
            gap = tokens_ns / max(1, count - 1)
            rows.append(Row(begun[task], tuple(round(first + gap * i) for i in range(count))))
    return rows


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
