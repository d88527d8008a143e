"""HEBO behind lines of JSON, run by an interpreter of its own: HEBO wants an older numpy than we do.

It imports nothing of ours. A line in: ``{"do": "start" | "ask" | "tell", ...}``; a line out:
``{"ok": value}`` or ``{"error": text}``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
import warnings
from typing import Any


class Server:
    """One optimizer."""

    def start(self, parameters: list[dict[str, Any]], seed: int) -> None:
        """Build the optimizer; ``parameters`` are those of ``DesignSpace.parse``."""
        import numpy as np
        import torch
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        random.seed(seed)
        np.random.seed(seed)  # HEBO draws from the global generator
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        self.names = [p["name"] for p in parameters]
        self.optimizer = HEBO(DesignSpace().parse(parameters), scramble_seed=seed)
        self.costs: list[float] = []

    def ask(self, pending: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
        """Return points in random order, the pending ones taken to cost the mean: the liar of batches."""
        kept = self.optimizer.X, self.optimizer.y
        if pending and self.costs:
            self._observe(pending, [sum(self.costs) / len(self.costs)] * len(pending))
        found = self.optimizer.suggest(n_suggestions=count).sample(frac=1)
        self.optimizer.X, self.optimizer.y = kept
        return [{name: _plain(found[name].iloc[i]) for name in self.names} for i in range(len(found))]

    def tell(self, point: dict[str, Any], cost: float) -> None:
        """Learn the cost of a point."""
        self.costs.append(cost)
        self._observe([point], [cost])

    def _observe(self, points: list[dict[str, Any]], costs: list[float]) -> None:
        import numpy as np
        import pandas as pd

        self.optimizer.observe(pd.DataFrame(points)[self.names], np.array(costs, dtype=float).reshape(-1, 1))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def main() -> None:
    """Serve until the input ends."""
    warnings.simplefilter("ignore")
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != here]  # the adapter beside us is called hebo too
    out, sys.stdout = sys.stdout, sys.stderr  # whatever HEBO prints is no answer
    server = Server()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": getattr(server, request.pop("do"))(**request)}
        except Exception:  # noqa: BLE001 - the other side raises it
            answer = {"error": traceback.format_exc()}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
