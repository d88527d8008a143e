"""Our load client and three others: put a load on a server, tell what each says of it.

Every client gets the same prompts and asks for the same lengths. What it *says* is its own summary, where it
has one; its *rows* are its own records of each request, on the clock that all processes share.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import Any, Protocol

from autotune.core.endpoint import Endpoint
from autotune.core.request import RequestRecord
from autotune.measure.load.aiperf import AIPerf
from autotune.measure.load.base import LoadPlan
from autotune.measure.load.generator import OwnGenerator
from autotune.measure.load.guidellm import GuideLLM
from autotune.measure.load.prompt_builder import PromptBuilder
from autotune.measure.load.prompts import Order, Orders
from autotune.measure.load.tool import Task, Tool
from autotune.measure.metrics import summarize
from autotune.measure.statistics.samples import CUT_OFF, cut_windows, is_answered
from autotune.measure.workload import Workload
from benchmarks.load.observed import LATENCIES, METRICS, STATISTICS
from benchmarks.load.servers import CLIENT_CORE, SERVER_CORE, Row, Server, on_cores, pin_tree_to

LIMIT_S = 180.0
"""Longest time of one run of a tool, its start and end included."""

WARM_SHARE = 0.2  # of our client's run, before its windows begin: `autotune measure` cuts a warm-up too
WINDOWS = 10
DRAIN_S = 3.0
ONE_CHARACTER_ONE_TOKEN = PromptBuilder("usage", 1.0, 0, exact=True)


@dataclass(frozen=True)
class Load:
    """One load.

    Args:
        name: In the tables.
        arrival: ``concurrency``, ``poisson`` or ``constant``.
        level: Requests at once, or requests per second.
        requests: How many.
        seconds: How long they take about.
        prompt_tokens: Of each.
        output_tokens: Of each.
        limits_ms: Longest ``ttft`` and ``tpot`` of a request that counts for the goodput.
        seed: Of the arrivals, with clients that take one.
    """

    name: str
    arrival: str
    level: float
    requests: int
    seconds: float
    prompt_tokens: int
    output_tokens: int
    limits_ms: tuple[float, float]
    seed: int = 0

    @property
    def closed(self) -> bool:
        """Whether a request is sent when one has ended."""
        return self.arrival == "concurrency"

    @property
    def workload(self) -> Workload:
        """The same as the section of a study file."""
        ttft, tpot = self.limits_ms
        section = {
            "prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens, "arrival": self.arrival,
            "seed": self.seed, "time": f"{self.seconds} s",
            "goodput": {"ttft": f"{ttft} ms", "tpot": f"{tpot} ms"},
        }  # fmt: skip
        section["concurrency" if self.closed else "rate"] = int(self.level) if self.closed else self.level
        return Workload.from_dict(section)

    def plan(self, server: Server) -> LoadPlan:
        """Return the plan of our client; it takes no precedence, like the others."""
        endpoint = Endpoint(server.url, server.model, body={"ignore_eos": True})
        rate, concurrency = (None, int(self.level)) if self.closed else (self.level, None)
        return LoadPlan(endpoint, self.workload, rate, concurrency)


@dataclass(frozen=True)
class Said:
    """What a client says of a run.

    Args:
        metrics: Of its summary, by our names; a metric that it has not is not there.
        rows: Of each request that was answered.
        errors: Of those that were not.
        window: Time that the summary is of, monotonic nanoseconds; ``None`` for the whole run.
    """

    metrics: dict[str, float]
    rows: list[Row]
    errors: list[str]
    window: tuple[int, int] | None = None


class Client(Protocol):
    """Put a load on a server."""

    def run(self, load: Load, server: Server, folder: Path) -> Said:
        """Return what the client says.

        Raises:
            RuntimeError: It gave nothing.
        """

    def close(self) -> None:
        """End what it keeps running."""


class Own:
    """Our client, at the priority of any other process."""

    def run(self, load: Load, server: Server, folder: Path) -> Said:
        """Return what ``autotune measure`` would: windows after a warm-up."""
        running = OwnGenerator().start(load.plan(server))
        records: list[RequestRecord] = []
        start_ns = running.started_ns + round(WARM_SHARE * load.seconds * 1e9)
        end_ns = running.started_ns + round(load.seconds * 1e9)
        while (now := time.monotonic_ns()) < end_ns + DRAIN_S * 1e9:
            if now > end_ns and running.ended_up_to(end_ns):
                break
            records += running.poll(0.1)
        records += running.stop(DRAIN_S)
        windows = cut_windows(records, start_ns, end_ns, WINDOWS, int(load.level) if load.closed else None)
        metrics = {}
        for name, found in summarize(windows, limits=load.workload.goodput).items():
            if name in METRICS:
                metrics[name] = found.value * (1e3 if found.unit == "s" else 1.0)
        return Said(metrics, rows_of(records), errors_of(records), (start_ns, end_ns))

    def close(self) -> None:
        """Nothing is kept."""


class VllmBench:
    """``vllm bench serve``, all runs in one process."""

    def __init__(self, python: str, folder: Path) -> None:
        self._log = (folder / "vllm.log").open("wb")
        with on_cores(SERVER_CORE, CLIENT_CORE):  # its start is not measured
            self._process = subprocess.Popen(
                [python, str(Path(__file__).with_name("vllm_driver.py"))], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=self._log, text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"},
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._say, self._hear = self._process.stdin, self._process.stdout
        if self._hear.readline().strip() != "ready":
            raise RuntimeError(f"vLLM did not start: {Path(self._log.name).read_text()[-500:]}")
        pin_tree_to(self._process.pid, CLIENT_CORE)

    def run(self, load: Load, server: Server, folder: Path) -> Said:
        """Return its summary and records."""
        prompts, result = folder / "prompts.jsonl", folder / "vllm.json"
        write(prompts, [{"prompt": o.joined, "output_tokens": o.max_tokens} for o in orders(load)])
        ttft, tpot = load.limits_ms
        words = [
            "--backend", "openai", "--base-url", server.url, "--endpoint", "/v1/completions",
            "--model", server.model, "--tokenizer", str(server.tokenizer), "--dataset-name", "custom",
            "--dataset-path", str(prompts), "--custom-output-len", "-1", "--skip-chat-template",
            "--disable-shuffle", "--seed", str(load.seed), "--num-prompts", str(load.requests),
            "--ignore-eos", "--temperature", "0",
            "--ready-check-timeout-sec", "0", "--disable-tqdm", "--percentile-metrics", "ttft,tpot,itl,e2el",
            "--metric-percentiles", "50,99", "--goodput", f"ttft:{ttft}", f"tpot:{tpot}",
            "--save-result", "--save-detailed", "--result-dir", str(folder), "--result-filename", result.name,
        ]  # fmt: skip
        if load.closed:
            words += ["--max-concurrency", str(int(load.level))]
        else:
            burstiness = "1.0" if load.arrival == "poisson" else "inf"
            words += ["--request-rate", str(load.level), "--burstiness", burstiness]
        self._say.write(json.dumps(words) + "\n")
        self._say.flush()
        heard = select([self._hear], [], [], LIMIT_S)[0]
        answer = self._hear.readline().strip() if heard else f"no end within {LIMIT_S:g} s"
        if answer != "done":
            raise RuntimeError(f"vllm bench serve: {answer or 'it died'}")
        return said_by_vllm(json.loads(result.read_text()))

    def close(self) -> None:
        """End its process."""
        self._say.close()
        self._process.wait(30)
        self._hear.close()
        self._log.close()


def said_by_vllm(found: dict[str, Any]) -> Said:
    """Return what a result of ``vllm bench serve --save-detailed`` says."""
    metrics = {}
    for name, theirs in zip(LATENCIES, ("ttft", "tpot", "itl", "e2el"), strict=True):
        for statistic in STATISTICS:
            metrics[f"{name}.{statistic}"] = found[f"{statistic}_{theirs}_ms"]
    for name in ("request_throughput", "output_throughput"):
        metrics[name] = found[name]
    metrics["goodput"] = found["request_goodput"]
    rows = []
    for start, ttft, gaps, error in zip(
        found["start_times"], found["ttfts"], found["itls"], found["errors"], strict=True
    ):
        if not error:
            times = [start + ttft]
            for gap in gaps:
                times.append(times[-1] + gap)
            rows.append(Row(round(start * 1e9), tuple(round(t * 1e9) for t in times)))
    return Said(metrics, rows, [error.strip().splitlines()[-1] for error in found["errors"] if error])


class ToolClient:
    """A tool that is started for each run.

    Args:
        tool: Knows its arguments and records.
        program: Where it is.
    """

    def __init__(self, tool: Tool, program: str) -> None:
        self.tool, self.program = tool, program

    def run(self, load: Load, server: Server, folder: Path) -> Said:
        """Return its summary and records."""
        task = Task(load.plan(server), folder, folder / "prompts.jsonl", load.seconds, load.requests)
        self.tool.write_prompts(task.prompts, orders(load))
        to_monotonic_ns = time.monotonic_ns() - time.time_ns()
        with (folder / "tool.log").open("wb") as log:
            with on_cores(SERVER_CORE, CLIENT_CORE):  # its start is not measured
                process = subprocess.Popen(
                    [self.program, *self.arguments(load, server, task)], stdout=log, stderr=subprocess.STDOUT,
                    cwd=folder, env={**os.environ, "NO_COLOR": "1", **self.environment(task)},
                    start_new_session=True,
                )  # fmt: skip
            try:
                code = self._ended(process, server)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        try:
            records = self.tool.records(folder, to_monotonic_ns)
            return Said(self.summary(folder), rows_of(records), errors_of(records))
        except (OSError, ValueError, KeyError, TypeError) as error:
            tail = (folder / "tool.log").read_text(errors="replace")[-400:]
            raise RuntimeError(f"{self.tool.name} exit code {code}: {error!r}: {tail}") from None

    def _ended(self, process: subprocess.Popen[Any], server: Server) -> int:
        """Return the exit code; from its first request on it has the client's core alone."""
        deadline, pinned = time.monotonic() + LIMIT_S, False
        while True:
            if not pinned and server.begun():
                pin_tree_to(process.pid, CLIENT_CORE)
                pinned = True
            try:
                return process.wait(0.2 if pinned else 0.01)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.tool.name} did not end within {LIMIT_S:g} s") from None

    def arguments(self, load: Load, server: Server, task: Task) -> list[str]:
        """Return the arguments of the program."""
        return self.tool.arguments(task)

    def environment(self, task: Task) -> dict[str, str]:
        """Return variables that it is given on top of ours."""
        return dict(self.tool.environment(task.plan))

    def summary(self, folder: Path) -> dict[str, float]:
        """Return the metrics of its summary."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is kept."""


class AIPerfClient(ToolClient):
    """``aiperf profile``."""

    def arguments(self, load: Load, server: Server, task: Task) -> list[str]:
        """Return those of the adapter, with limits of a good request and the server's tokenizer."""
        words = self.tool.arguments(task)
        words[words.index("--tokenizer") + 1] = str(server.tokenizer)
        ttft, tpot = load.limits_ms
        return [*words, "--goodput", f"time_to_first_token:{ttft:g} inter_token_latency:{tpot:g}"]

    def summary(self, folder: Path) -> dict[str, float]:
        """Return the metrics of its export."""
        found = json.loads((folder / "out" / "profile_export_aiperf.json").read_text())
        names = ("time_to_first_token", "inter_token_latency", "inter_chunk_latency", "request_latency")
        metrics = {}
        for name, theirs in zip(LATENCIES, names, strict=True):
            for statistic in STATISTICS:
                metrics[f"{name}.{statistic}"] = found[theirs]["avg" if statistic == "mean" else statistic]
        rates = {"request_throughput": "request_throughput", "output_throughput": "output_token_throughput",
                 "goodput": "goodput"}  # fmt: skip
        return metrics | {name: found[theirs]["avg"] for name, theirs in rates.items() if theirs in found}


class GuideLLMClient(ToolClient):
    """``guidellm run``."""

    def arguments(self, load: Load, server: Server, task: Task) -> list[str]:
        """Return those of the adapter, with limits of a good request."""
        ttft, tpot = load.limits_ms
        metrics = {"kind": "generative", "slo": {"ttft_ms": ttft, "tpot_ms": tpot}}
        return [*self.tool.arguments(task), "--metrics", json.dumps(metrics)]

    def environment(self, task: Task) -> dict[str, str]:
        """Return those of the adapter, with as many processes as it starts by itself."""
        return {k: v for k, v in super().environment(task).items() if not k.startswith("GUIDELLM__")}

    def summary(self, folder: Path) -> dict[str, float]:
        """Return the metrics of its report; its inter-token latency is one per request, our tpot."""
        found = json.loads((folder / "benchmark.json").read_text())["benchmarks"][0]["metrics"]
        names = {"ttft": ("time_to_first_token_ms", 1.0), "tpot": ("inter_token_latency_ms", 1.0),
                 "e2e": ("request_latency", 1e3)}  # fmt: skip
        metrics = {}
        for name, (theirs, factor) in names.items():
            of = found[theirs]["successful"]
            metrics |= {f"{name}.mean": of["mean"] * factor, f"{name}.p50": of["median"] * factor,
                        f"{name}.p99": of["percentiles"]["p99"] * factor}  # fmt: skip
        metrics["request_throughput"] = found["requests_per_second"]["successful"]["mean"]
        metrics["output_throughput"] = found["output_tokens_per_second"]["successful"]["mean"]
        if found.get("request_goodput") is not None:
            metrics["goodput"] = found["request_goodput"]["successful"]["mean"]
        return metrics


def rows_of(records: Sequence[RequestRecord]) -> list[Row]:
    """Return the rows of answered requests, begun when they were sent."""
    return [
        Row(r.send_ns + r.slip_ns, tuple(t for t, count in r.arrivals for _ in range(count)))
        for r in records
        if is_answered(r)
    ]


def errors_of(records: Sequence[RequestRecord]) -> list[str]:
    """Return what requests failed with; what was cut off at the end did not."""
    return [r.error for r in records if r.error not in (None, CUT_OFF)]


def orders(load: Load) -> list[Order]:
    """Return what is asked of the server."""
    made = Orders(load.workload, "measured", ONE_CHARACTER_ONE_TOKEN)
    return [made.at(i) for i in range(load.requests)]


def write(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write JSONL."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def build_client(name: str, programs: dict[str, str], folder: Path) -> Client:
    """Return a client.

    Args:
        name: ``own``, ``vllm``, ``aiperf`` or ``guidellm``.
        programs: Where each of the others is.
        folder: For the log of one that is kept running.
    """
    if name == "own":
        return Own()
    if name == "vllm":
        return VllmBench(programs[name], folder)
    if name == "aiperf":
        return AIPerfClient(AIPerf(), programs[name])
    return GuideLLMClient(GuideLLM(), programs[name])
