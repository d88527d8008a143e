"""Curves of a comparison: one picture per problem, one over all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measures import NEAR, Run, at_look
from benchmarks.methods import is_peer
from benchmarks.report import Results


def draw(results: Results, parallel: int, folder: Path) -> None:
    """Write the curves of quality over trials, with quartile bands, as PNG files.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    colours = {m: plt.get_cmap("tab20")(i % 20) for i, m in enumerate(results.methods)}
    for problem in results.problems:
        figure, axes = plt.subplots(figsize=(7, 4.5))
        for method in results.methods:
            if runs := results.of(problem, method):
                low, middle, high = np.quantile(curves(runs), [0.25, 0.5, 0.75], axis=0)
                _line(axes, method, colours[method], middle, low, high)
        _finish(figure, axes, problem, folder / f"{_file_name(problem)}_x{parallel}.png")
        plt.close(figure)
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for method in results.methods:
        each = [np.median(curves(runs), axis=0) for p in results.problems if (runs := results.of(p, method))]
        length = max(map(len, each))
        padded = [np.pad(curve, (0, length - len(curve)), mode="edge") for curve in each]
        _line(axes, method, colours[method], np.mean(padded, axis=0))
    _finish(figure, axes, "mean over problems", folder / f"overview_x{parallel}.png")
    plt.close(figure)


def curves(runs: Sequence[Run]) -> np.ndarray:
    """Return the quality of what would be recommended, shape ``runs x trials``."""
    return np.array([[at_look(run, n) for n in range(1, run["trials"] + 1)] for run in runs])


def _line(axes: Any, method: str, colour: Any, middle: Any, low: Any = None, high: Any = None) -> None:
    trials = np.arange(1, len(middle) + 1)
    axes.plot(trials, middle, label=method, color=colour, linewidth=1.2 if is_peer(method) else 2.4)
    if low is not None:
        axes.fill_between(trials, low, high, color=colour, alpha=0.12, linewidth=0)


def _finish(figure: Any, axes: Any, title: str, path: Path) -> None:
    axes.axhline(NEAR, color="grey", linewidth=0.6, linestyle=":")
    axes.set(
        title=title, xlabel="trials", ylabel="quality of the recommended (1 is the best)", ylim=(0, 1.02)
    )
    axes.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _file_name(problem: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", problem)
