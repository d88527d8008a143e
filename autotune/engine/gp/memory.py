"""What is known to run out of memory without being tried: the cone above a configuration that did.

A parameter declared ``memory: up`` needs at least as much memory at a higher value (``down``: at a lower
one). So whatever differs from an out-of-memory configuration only in such parameters, each towards more
memory, runs out of memory too. Nothing is said of configurations that differ elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autotune.core.measurement import Cause
from autotune.core.table import INACTIVE, Table
from autotune.core.trial import Trial

Mask = npt.NDArray[np.bool_]


def known_out_of_memory(table: Table, history: Sequence[Trial]) -> Mask:
    """Return which rows of ``table`` need at least as much as a trial that ran out of memory, shape ``n``."""
    known = np.zeros(len(table), dtype=bool)
    for trial in history:
        if trial.failure is not None and trial.failure.cause is Cause.OUT_OF_MEMORY and trial.state.finished:
            known |= _at_least(table, table.encode(trial.config))
    return known


def _at_least(table: Table, row: npt.NDArray[np.int32]) -> Mask:
    mask = np.ones(len(table), dtype=bool)
    for i, parameter in enumerate(table.parameters):
        levels = table.indices[:, i]
        if parameter.memory is None or row[i] == INACTIVE:
            mask &= levels == row[i]
        else:
            more = levels >= row[i] if parameter.memory == "up" else levels <= row[i]
            mask &= more & (levels != INACTIVE)
    return mask
