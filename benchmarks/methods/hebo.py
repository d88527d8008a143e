"""HEBO in a process of its own environment, named by ``AUTOTUNE_HEBO_PYTHON``.

Ordered parameters are integers of ranks, unordered ones categories; inactive ones are proposed and dropped.
HEBO knows neither limits nor failures: both are penalized. Running trials are taken to cost the mean.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from autotune.core.measurement import Measurement
from autotune.core.parameter import Float
from autotune.core.trial import Config
from benchmarks.methods.base import Adapter, Coordinate, Penalty, Point
from benchmarks.problems.base import Problem

VARIABLE = "AUTOTUNE_HEBO_PYTHON"

_SPARE = 8  # suggesting costs a second, and on an explicit list dozens may be refused


class HeboSession(Adapter):
    """Ask and tell the process."""

    def __init__(self, problem: Problem, seed: int, budget: int, python: str) -> None:
        super().__init__(problem, seed, budget)
        self.penalty = Penalty()
        self.spare: list[Point] = []
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process runs
        self.server = subprocess.Popen(
            [python, str(Path(__file__).with_name("hebo_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
        self._call("start", parameters=[_described(c) for c in self.coordinates.values()], seed=seed)

    def _call(self, what: str, **values: Any) -> Any:
        assert self.server.stdin is not None and self.server.stdout is not None  # noqa: PT018 - both are pipes
        self.server.stdin.write(json.dumps({"do": what, **values}) + "\n")
        self.server.stdin.flush()
        line = self.server.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"HEBO's process ended: {self.log.read()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"HEBO: {answer['error']}")
        return answer.get("ok")

    def propose(self) -> tuple[Point, bool]:
        """Return HEBO's next point; where some may be refused, it is asked for several at once."""
        if not self.spare:
            free = not self.space.constraints and self.space.configurations is None
            waiting = [self._row(config) for config in self.pending]
            self.spare = self._call("ask", pending=waiting, count=1 if free else _SPARE)
        return self.spare.pop(0), True

    def ask(self) -> Config:
        """Return the next configuration; what was left over of the last ask is out of date."""
        self.spare.clear()
        return super().ask()

    def _row(self, config: Config) -> Point:
        point = self.full_point_of(config)
        return {n: at if self.coordinates[n].ordered else str(at) for n, at in point.items()}

    def learn(self, config: Config, measurement: Measurement, ticket: Any) -> None:
        """Tell the cost, penalized where it has to be."""
        if measurement.failure is None:
            cost = self.penalty.weigh(self.cost(measurement), self.violations(measurement))
            self._call("tell", point=self._row(config), cost=cost)
        else:
            self.penalty.held.append(config)
        while self.penalty.held and self.penalty.worst is not None:
            self._call("tell", point=self._row(self.penalty.held.pop(0)), cost=self.penalty.worst)

    def close(self) -> None:
        """End the process."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        if self.server.stdout is not None:
            self.server.stdout.close()
        self.log.close()


def _described(coordinate: Coordinate) -> dict[str, Any]:
    parameter, name = coordinate.parameter, coordinate.name
    if coordinate.real and isinstance(parameter, Float):
        kind = "pow" if coordinate.logarithmic else "num"
        return {"name": name, "type": kind, "lb": parameter.low, "ub": parameter.high}
    if coordinate.ordered:
        return {"name": name, "type": "int", "lb": 0, "ub": coordinate.size - 1}
    return {"name": name, "type": "cat", "categories": [str(i) for i in range(coordinate.size)]}


class HeboMethod:
    """Start processes.

    Args:
        name: ``hebo``.

    Raises:
        ImportError: Nothing says which interpreter has HEBO.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.python = os.environ.get(VARIABLE, "")
        if not self.python:
            raise ImportError(f"HEBO needs an environment of its own: set {VARIABLE} to its interpreter")

    def start(self, problem: Problem, seed: int, budget: int) -> HeboSession:
        """Begin a run."""
        return HeboSession(problem, seed, budget, self.python)
