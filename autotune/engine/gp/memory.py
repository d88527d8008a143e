"""What is known of memory without being tried: the cones above what ran out of it and below what did not.

A parameter declared ``memory: up`` needs at least as much memory at a higher value (``down``: at a lower
one). So whatever differs from an out-of-memory configuration only in such parameters, each towards more
memory, runs out of memory too; and what differs from a measured one only towards less fits. Nothing is said
of configurations that differ elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autotune.core.measurement import Cause
from autotune.core.table import INACTIVE, Table
from autotune.core.trial import Trial, TrialState

Mask = npt.NDArray[np.bool_]


def known_out_of_memory(table: Table, history: Sequence[Trial]) -> Mask:
    """Return which rows of ``table`` need at least as much as a trial that ran out of memory, shape ``n``."""
    known = np.zeros(len(table), dtype=bool)
    for trial in history:
        if trial.failure is not None and trial.failure.cause is Cause.OUT_OF_MEMORY and trial.state.finished:
            known |= _cone(table, table.encode(trial.config), more=True)
    return known


def known_to_fit(table: Table, history: Sequence[Trial]) -> Mask:
    """Return which rows of ``table`` need at most as much memory as a measured trial, shape ``n``.

    None where nothing is declared about memory, or where trials failed by other causes: fitting into memory
    is then not all that it takes.
    """
    known = np.zeros(len(table), dtype=bool)
    causes = {
        t.failure.cause for t in history if t.failure is not None and t.failure.cause.configuration_at_fault
    }
    if causes != {Cause.OUT_OF_MEMORY} or all(p.memory is None for p in table.parameters):
        return known
    rows = {table.encode(t.config).tobytes(): t.config for t in history if t.state is TrialState.COMPLETED}
    for config in rows.values():
        known |= _cone(table, table.encode(config), more=False)
    return known


def _cone(table: Table, row: npt.NDArray[np.int32], *, more: bool) -> Mask:
    mask = np.ones(len(table), dtype=bool)
    for i, parameter in enumerate(table.parameters):
        levels = table.indices[:, i]
        if parameter.memory is None or row[i] == INACTIVE:
            mask &= levels == row[i]
        else:
            upwards = (parameter.memory == "up") == more
            mask &= (levels >= row[i] if upwards else levels <= row[i]) & (levels != INACTIVE)
    return mask
