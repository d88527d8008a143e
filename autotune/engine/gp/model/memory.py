"""Monotone dominance: configurations that must exceed, or must fit in, memory.

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
from autotune.core.table import INACTIVE, Indices, Table
from autotune.core.trial import Config, Trial, TrialState

Mask = npt.NDArray[np.bool_]


def known_out_of_memory(table: Table, history: Sequence[Trial]) -> Mask:
    """Return which rows of ``table`` need at least as much as a trial that ran out of memory, shape ``n``."""
    configs = [
        t.config
        for t in history
        if t.failure is not None and t.failure.cause is Cause.OUT_OF_MEMORY and t.state.finished
    ]
    return _cones(table, configs, more=True)


def known_to_fit(table: Table, history: Sequence[Trial]) -> Mask:
    """Return which rows of ``table`` need at most as much memory as a measured trial, shape ``n``.

    None where nothing is declared about memory, or where trials failed by other causes: fitting into memory
    is then not all that it takes.
    """
    causes = {
        t.failure.cause for t in history if t.failure is not None and t.failure.cause.configuration_at_fault
    }
    if causes != {Cause.OUT_OF_MEMORY} or all(p.memory is None for p in table.parameters):
        return np.zeros(len(table), dtype=bool)
    return _cones(table, [t.config for t in history if t.state is TrialState.COMPLETED], more=False)


def _cones(table: Table, configs: Sequence[Config], *, more: bool) -> Mask:
    """Return which rows differ from one of ``configs`` in declared parameters only, each in one direction.

    Rows are looked at closely only where everything else agrees with one of them.
    """
    known = np.zeros(len(table), dtype=bool)
    if not configs or not len(table):
        return known
    tips = np.unique(np.array([table.encode(config) for config in configs]), axis=0)
    declared = [i for i, p in enumerate(table.parameters) if p.memory is not None]
    signs = np.array([1 if (table.parameters[i].memory == "up") == more else -1 for i in declared], np.int32)
    fixed = _agreeing(table.indices, declared), _agreeing(tips, declared)
    codes, wanted = _code(fixed[0]), np.sort(_code(fixed[1]))
    place = np.searchsorted(wanted, codes).clip(max=len(wanted) - 1)
    near = np.flatnonzero(wanted[place] == codes)
    rest, levels = fixed[0][near], table.indices[near][:, declared] * signs
    for tip, same in zip(tips[:, declared] * signs, fixed[1], strict=True):
        beyond = (levels >= tip).all(1) & (rest == same).all(1)
        known[near[beyond]] = True
    return known


def _agreeing(indices: Indices, declared: Sequence[int]) -> Indices:
    """Return what has to be the same within a cone: levels, and whether declared parameters are active."""
    found = indices.copy()
    found[:, declared] = np.where(indices[:, declared] == INACTIVE, INACTIVE, 0)
    return found


def _code(levels: Indices) -> npt.NDArray[np.uint64]:
    """Return one number per row that is the same for equal rows, and seldom for others."""
    factors = np.random.default_rng(0).integers(2**63, size=levels.shape[1], dtype=np.uint64) * 2 + 1
    with np.errstate(over="ignore"):
        return levels.astype(np.uint64) @ factors.astype(np.uint64)
