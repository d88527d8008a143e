"""Measure one head under many studies: ``python -m benchmarks.scale --studies 20 --workers 1000``.

Every driver is a process of its own with a ledger of its own, asks its engine, submits through a real Ray
cluster (a head and some nodes on this machine) and is mirrored to one real MLflow server, the copy of its
ledger too. Only the trials are simulated: an attempt waits, and measures what a simulated server says.
Engines alternate over the studies. What is counted falls into the last ``--seconds``, after ``--warm-up``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from autotune.core.file_names import LEDGER_NAME
from autotune.ledger import Ledger
from autotune.ledger.copies import copy_state
from autotune.tracking.mlflow_items import mirror_name, outdated
from benchmarks.crew import THREADS
from benchmarks.problems.serving import OBJECTIVE, SPACE
from benchmarks.scale.driver import drive
from benchmarks.scale.slots import NAMESPACE, SlotHost

START_S = 240.0  # for the head, its nodes, MLflow and the drivers, on a busy machine
END_S = 60.0  # for drivers that were asked to stop


def study_file(folder: Path, name: str, engine: str, parallel: int, mlflow: str) -> Path:
    """Write the study of one driver into its folder."""
    module = Path(__file__).parents[1] / "executor" / "simulated.py"
    content = {
        "name": name,
        "parameters": SPACE.to_dict()["parameters"],
        "system": {"use": "function", "call": f"{module}:nothing"},
        "objective": OBJECTIVE.to_dict(),
        "budget": {"trials": 100_000, "confirm": 0, "watch": 0, "parallel": parallel},
        "engine": {"use": engine, "seed": sum(name.encode())},
        "resources": {"cpus": "1", "exclusive": "none"},
        "tracking": {"mlflow": mlflow, "experiment": name},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


# -- the head -----------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port of this machine that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(argv: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a group of its own, which ends with the block."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv, cwd=log.parent, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
    tree: list[psutil.Process] = []
    try:
        yield child
        tree = tree_of(child.pid)
    finally:
        tree = tree or tree_of(child.pid)
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        child.wait(30)


def tree_of(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def wait_for(condition: Any, what: str) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: It does not in time.
    """
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {START_S:g} s")
        time.sleep(0.2)


def answers(port: int) -> bool:
    """Return whether somebody listens at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def cluster(folder: Path, nodes: int, workers: int, mean_s: float) -> Iterator[tuple[str, int]]:
    """Start a Ray head and nodes with hosts of slots; gives the address and the head's process."""
    port = free_port()
    ray_cli = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
    small = ["--object-store-memory=100000000", "--num-gpus=0"]
    head = [*ray_cli, "--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=0", *small]
    head.append(f"--temp-dir={folder}/ray")  # what others on this machine take for theirs stays as it is
    with ExitStack() as stack:
        first = stack.enter_context(
            process([*head, "--include-dashboard=false"], folder / "head.log", RAY_AUTH_MODE="disabled")
        )
        wait_for(lambda: answers(port), "the Ray head")
        for i in range(nodes):
            log = folder / f"node-{i}.log"
            argv = [*ray_cli, f"--address=127.0.0.1:{port}", f"--num-cpus={-(-workers // nodes)}", *small]
            stack.enter_context(process(argv, log, RAY_AUTH_MODE="disabled"))
            wait_for(lambda log=log: "Ray runtime started" in log.read_text(), f"node {i}")
        import ray

        os.environ["RAY_AUTH_MODE"] = "disabled"
        ray.init(address=f"127.0.0.1:{port}", namespace=NAMESPACE, log_to_driver=False)
        stack.callback(ray.shutdown)
        kind = ray.remote(num_cpus=1, max_concurrency=-(-workers // nodes) + 10)(SlotHost)
        hosts = [
            kind.options(name=f"slots-{i}", scheduling_strategy="SPREAD").remote(mean_s) for i in range(nodes)
        ]
        ray.get([host.__ray_ready__.remote() for host in hosts])
        yield f"127.0.0.1:{port}", first.pid


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Start an MLflow server; gives its address and its process."""
    port = free_port()
    argv = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    argv += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--workers", "1"]
    with process(argv, folder / "mlflow.log", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false") as server:
        wait_for(lambda: answers(port), "MLflow")
        yield f"http://127.0.0.1:{port}", server.pid


# -- what is counted ----------------------------------------------------------------------------------


def roles(head: int, mlflow: int | None, drivers: Sequence[int]) -> dict[str, list[psutil.Process]]:
    """Return the processes of the head by what they do."""
    found: dict[str, list[psutil.Process]] = {"gcs": [], "raylet of the head": [], "other of Ray's head": []}
    for one in tree_of(head):
        with suppress(psutil.NoSuchProcess):
            role = {"gcs_server": "gcs", "raylet": "raylet of the head"}.get(
                one.name(), "other of Ray's head"
            )
            found[role].append(one)
    found["MLflow"] = tree_of(mlflow) if mlflow is not None else []
    found["drivers"] = [one for pid in drivers for one in tree_of(pid)[:1]]
    return found


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Return the processor time of processes so far, in seconds."""
    total = 0.0
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            spent = one.cpu_times()
            total += spent.user + spent.system
    return total


def memory_mb(processes: Sequence[psutil.Process]) -> float:
    """Return the memory of processes, what they share counted once (PSS), in megabytes."""
    total = 0.0
    for one in processes:
        with suppress(psutil.Error):
            total += one.memory_full_info().pss / 1e6
    return total


def revision(path: Path) -> int:
    """Return how many commits a ledger has had; 0 while there is none."""
    with suppress(Exception), Ledger.open(path, read_only=True) as ledger:
        return ledger.revision()
    return 0


def all_begun(drivers: Sequence[Any], ledgers: Sequence[Path]) -> bool:
    """Return whether every driver has a study that has begun.

    Raises:
        TimeoutError: One has ended.
    """
    if any(driver.exitcode is not None for driver in drivers):
        raise TimeoutError("a driver has ended")
    return all(revision(path) > 3 for path in ledgers)


def history(path: Path, study: str) -> list[dict[str, Any]]:
    """Return the attempts of a study that have begun, in the order of their starts."""
    with Ledger.open(path, read_only=True) as ledger:
        rows = ledger.rows_of(study)["attempt"]
    return sorted(rows, key=lambda row: int(row["started_ns"]))


def turns(rows: Sequence[Mapping[str, Any]], began_ns: int, ended_ns: int) -> tuple[list[float], list[float]]:
    """Return how long results of trials took that ended within a window, and how long their slots were empty.

    Returns:
        Seconds from a trial's end to the commit of its result; and from its end to the start of the next
        trial in the same slot, both on the worker.
    """
    by_slot: dict[int, list[tuple[int, int]]] = {}
    commits = []
    for row in rows:
        if row["measurement"] is None:
            continue
        found = json.loads(row["measurement"])
        slot = (found.get("facts") or {}).get("slot")
        if slot is None:
            continue
        by_slot.setdefault(slot, []).append((found["started_ns"], found["ended_ns"]))
        if began_ns <= found["ended_ns"] < ended_ns:
            commits.append((row["ended_ns"] - found["ended_ns"]) / 1e9)
    empty = []
    for spans in by_slot.values():
        spans.sort()
        for (_, end), (start, _) in pairwise(spans):
            if began_ns <= end < ended_ns:
                empty.append((start - end) / 1e9)
    return commits, empty


def lag(path: Path, study: str, uri: str) -> dict[str, float]:
    """Return how far the mirror of a study is behind: items, and the age of the oldest result it lacks."""
    now = time.time_ns()
    with Ledger.open(path, read_only=True) as ledger:
        late = {item.key for item in outdated(ledger, study, mirror_name(uri))}
        ended = {row["trial"]: row["ended_ns"] for row in ledger.rows_of(study)["attempt"] if row["ended_ns"]}
        copies = copy_state(ledger, study)
    ages = [(now - moment) / 1e9 for trial, moment in ended.items() if f"trial/{trial}" in late]
    copied = 0 if copies is None else copies.copied_ns
    behind = [(now - moment) / 1e9 for moment in ended.values() if moment > copied]
    return {"items": len(late), "oldest_s": max(ages, default=0.0), "copy_s": max(behind, default=0.0)}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, 5 % and 95 % quantile and the largest of some numbers."""
    if not len(values):
        return {}
    quantiles = np.quantile(np.asarray(values, dtype=float), [0.05, 0.5, 0.95, 1.0])
    return dict(zip(("p5", "median", "p95", "max"), (round(float(x), 4) for x in quantiles), strict=True))


# -- a run --------------------------------------------------------------------------------------------


class Window:
    """What is counted at the beginning and at the end of the time that is looked at.

    Args:
        parts: Processes of the head by what they do.
        drivers: Processes of the drivers.
        ledgers: Their ledgers.
    """

    def __init__(
        self, parts: Mapping[str, list[psutil.Process]], drivers: Sequence[Any], ledgers: Sequence[Path]
    ) -> None:
        self._parts, self._drivers, self._ledgers = parts, drivers, ledgers
        self.began_ns, self.ended_ns, self.busy = time.time_ns(), 0, 0.0
        self._began = self._look()

    def _look(self) -> tuple[dict[str, float], list[float], list[int], Any]:
        cpu = {role: cpu_s(found) for role, found in self._parts.items()}
        each = [cpu_s(tree_of(driver.pid)[:1]) for driver in self._drivers]
        return cpu, each, [revision(path) for path in self._ledgers], psutil.cpu_times()

    def close(self) -> None:
        """End the window."""
        self.ended_ns = time.time_ns()
        found = self._look()
        self.seconds = (self.ended_ns - self.began_ns) / 1e9
        self.cpu = {role: value - self._began[0][role] for role, value in found[0].items()}
        self.each = [after - before for before, after in zip(self._began[1], found[1], strict=True)]
        self.commits = sum(found[2]) - sum(self._began[2])
        total = sum(found[3]) - sum(self._began[3])
        self.busy = 1 - (found[3].idle - self._began[3].idle) / total
        self.memory = {role: memory_mb(processes) for role, processes in self._parts.items()}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the studies and return the figures."""
    wanted = options.engines.split(",")
    engines = [wanted[i % len(wanted)] for i in range(options.studies)]
    share = options.workers // options.studies
    names = [f"study-{i}" for i in range(options.studies)]
    ledgers = [folder / name / LEDGER_NAME for name in names]
    with ExitStack() as stack:
        uri, mlflow = "none", None
        if not options.no_mlflow:
            uri, mlflow = stack.enter_context(mlflow_server(folder))
        address, head = stack.enter_context(cluster(folder, options.nodes, options.workers, options.trial))
        context = multiprocessing.get_context("forkserver")
        # what all have loaded they share; as many processes that load it one by one need far more memory
        context.set_forkserver_preload(
            ["benchmarks.scale.driver", "mlflow.tracking", "autotune.engine.gp", "botorch"]
        )
        drivers = []
        for name, engine in zip(names, engines, strict=True):
            (folder / name).mkdir()
            study_file(folder / name, name, engine, share, uri)
            driver = context.Process(target=drive, args=(folder / name, address, options.nodes))
            driver.start()
            drivers.append(driver)
            stack.callback(driver.kill)
        wait_for(lambda: all_begun(drivers, ledgers), "the drivers")
        time.sleep(options.warm_up)
        pids = [driver.pid for driver in drivers if driver.pid]
        window = Window(roles(head, mlflow, pids), drivers, ledgers)
        time.sleep(options.seconds)
        window.close()
        alive = sum(driver.is_alive() for driver in drivers)
        late = [] if uri == "none" else [lag(*each, uri) for each in zip(ledgers, names, strict=True)]
        for driver in drivers:
            driver.terminate()
        deadline = time.monotonic() + END_S
        for driver in drivers:
            driver.join(max(0.1, deadline - time.monotonic()))
        ended = sorted({str(driver.exitcode) for driver in drivers})
    studies = [
        in_window(path, name, engine, share, window, spent)
        for path, name, engine, spent in zip(ledgers, names, engines, window.each, strict=True)
    ]
    trials = sum(len(one["end_to_commit_s"]) for one in studies)
    found: dict[str, Any] = {
        "studies": options.studies, "workers": share * options.studies, "nodes": options.nodes,
        "trial_s": options.trial, "seconds": round(window.seconds, 1), "mlflow": uri != "none",
        "cores": os.cpu_count(), "machine_busy": round(window.busy, 3),
        "drivers_alive": alive, "exit_codes": ended,
        "trials": trials, "trials_per_s": round(trials / window.seconds, 2),
        "trials_per_s_wanted": round(options.workers / options.trial, 2),
        "commits_per_s": round(window.commits / window.seconds, 1),
        "cpu_share": {role: round(value / window.seconds, 3) for role, value in window.cpu.items()},
        "memory_mb": {role: round(value) for role, value in window.memory.items()},
        "mirror_items": spread([one["items"] for one in late]),
        "mirror_oldest_s": spread([one["oldest_s"] for one in late]),
        "copy_oldest_s": spread([one["copy_s"] for one in late]),
    }  # fmt: skip
    for engine in dict.fromkeys(["all", *engines]):
        own = [one for one in studies if engine in ("all", one["engine"])]
        found[engine] = {
            "cpu_s_per_trial": spread([one["cpu_s_per_trial"] for one in own]),
            "trials": spread([len(one["end_to_commit_s"]) for one in own]),
            "in_use": spread([one["in_use"] for one in own]),
            "end_to_commit_s": spread([value for one in own for value in one["end_to_commit_s"]]),
            "slot_empty_s": spread([value for one in own for value in one["slot_empty_s"]]),
        }
    return found


def in_window(path: Path, name: str, engine: str, share: int, window: Window, spent: float) -> dict[str, Any]:
    """Return what a study did within the window, and the part of its slots' time that was in use."""
    rows = history(path, name)
    began, ended = window.began_ns, window.ended_ns
    results, empty = turns(rows, began, ended)
    busy = sum(max(0, min(row["ended_ns"] or ended, ended) - max(row["started_ns"], began)) for row in rows)
    return {
        "engine": engine,
        "cpu_s_per_trial": spent / max(1, len(results)),
        "in_use": busy / 1e9 / window.seconds / share,
        "end_to_commit_s": results,
        "slot_empty_s": empty,
    }


def main() -> None:
    """Run what is asked for and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1000, help="slots of all studies together")
    parser.add_argument("--nodes", type=int, default=4, help="Ray nodes beside the head, on this machine")
    parser.add_argument("--trial", type=float, default=120.0, help="seconds of a trial, on average")
    parser.add_argument("--engines", default="gp,sobol", help="by turns")
    parser.add_argument("--warm-up", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--no-mlflow", action="store_true")
    parser.add_argument("--out", type=Path, help="file to which the figures are added, a line")
    options = parser.parse_args()
    for name in THREADS:
        os.environ[name] = "1"
    os.environ |= {"RAY_AUTH_MODE": "disabled", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        try:
            found = measure(options, Path(folder))
        except TimeoutError:
            for log in sorted(Path(folder).rglob("*.log")):
                print(f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}", file=sys.stderr)
            raise
    print(json.dumps(found, indent=2))
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
