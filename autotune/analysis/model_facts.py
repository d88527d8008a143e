"""What a model says of a study's trials, as plain data.

A run that ends keeps it in the ledger, so that looking at the study loads no model. It holds for exactly the
trials, the objective, the space, the engine and the version of this package that it was computed with; for
others it is computed when asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autotune.core.dependencies import what_is_missing
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Trial
from autotune.core.version import VERSION

MODEL_FACTS = "model_facts"
"""Key of the study's note in the ledger."""


class ModelFacts:
    """Facts of a model by key, as plain JSON data.

    Args:
        note: Facts that the ledger keeps; those of other trials, and what is none of ours, are left out.
        trials: All trials of the study.
        objective: Objective that they are judged by.
        space: Space of the study as it is now.
        engine: Engine section of the study.
        missing: Reason why no model can be made here, as a sentence without its full stop; empty if none is
            known.
    """

    def __init__(
        self,
        note: object,
        trials: Sequence[Trial],
        objective: Objective,
        space: Space,
        *,
        engine: object = None,
        missing: str = "",
    ) -> None:
        self._of = _digest(trials, objective, space, engine)
        found = note.get("found") if isinstance(note, Mapping) and note.get("of") == self._of else None
        self._found = dict(found) if isinstance(found, Mapping) else {}
        self.missing = missing

    def recall(self, key: str, compute: Callable[[], object]) -> Any:
        """Return a fact; ``None`` where it says so, or what computes it cannot be loaded here.

        Args:
            key: Name of the fact.
            compute: Function that computes it as plain JSON data.
        """
        if key not in self._found and not self.missing:
            try:
                self._found[key] = compute()
            except ImportError as error:
                self.missing = what_is_missing(error)
                if not self.missing:
                    raise
        return self._found.get(key)

    def note(self) -> dict[str, object]:
        """Return all facts known by now as the ledger keeps them."""
        return {"of": self._of, "found": {key: fact for key, fact in self._found.items() if _is_json(fact)}}


def _is_json(fact: object) -> bool:
    """Return whether a fact has no number that JSON lacks, such as infinity."""
    try:
        json.dumps(fact, allow_nan=False)
    except ValueError:
        return False
    return True


def _digest(trials: Sequence[Trial], objective: Objective, space: Space, engine: object) -> str:
    measured = [
        (t.number, t.state.value, t.key, sorted((k, v.value, v.sem) for k, v in t.metrics.items()))
        for t in trials
        if t.state.finished
    ]
    text = json.dumps([VERSION, objective.fingerprint, space.fingerprint, engine, measured], default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
