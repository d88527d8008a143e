"""Run a trainable of Ray Tune: ``python -m autotune.systems.own.trainable module:name OPTIONS FILE``.

It runs in this process, without a cluster: a function in the session that `tune.report` needs, a class step
by step until it reports ``done`` or a bound of ``stop`` is reached. The last result is what was measured.
Checkpoints and other files of its are in the attempt's folder.

The configuration is the JSON object of the variable ``AUTOTUNE_CONFIG``, as for functions.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, TypeAlias

from autotune.core.trial import Value
from autotune.systems.own.call import call_main
from autotune.systems.own.words import placeholders

if TYPE_CHECKING:
    from ray.train._internal.storage import StorageContext

_STDOUT = "/dev/stdout"

Trainable: TypeAlias = Any
"""A function that calls `tune.report`, or a subclass of `tune.Trainable`."""


def main() -> None:
    """Run the trainable of the arguments."""
    target, options, file = sys.argv[1:4]
    given = json.loads(options)
    folder = Path(mkdtemp(prefix="autotune-trainable-") if file == _STDOUT else file).resolve()
    folder = folder if file == _STDOUT else folder.parent

    def run(trainable: Trainable, config: dict[str, Value]) -> dict[str, float]:
        return run_trainable(trainable, config, folder, given["config"], given["stop"])

    from ray import tune  # noqa: F401 - while the user's folder is not on the module path

    call_main(target, file, run)


def run_trainable(
    trainable: Trainable,
    config: Mapping[str, Value],
    folder: Path,
    places: Mapping[str, object],
    stop: Mapping[str, float],
) -> dict[str, float]:
    """Run a trainable to its end and return the numbers of its last result.

    Args:
        trainable: A function that reports with `tune.report`, or a subclass of `tune.Trainable`.
        config: Values of the parameters.
        folder: Folder for its checkpoints and files.
        places: Configuration that they are put into; see :func:`configured`.
        stop: Bounds on what is reported, at which it is stopped.
    """
    from ray import tune
    from ray.tune.result import AUTO_RESULT_KEYS, DEBUG_METRICS, DONE, RESULT_DUPLICATE, TRAINING_ITERATION
    from ray.tune.trainable.function_trainable import wrap_function
    from ray.tune.utils import flatten_dict

    logging.getLogger("ray.train").setLevel(logging.WARNING)
    is_class = isinstance(trainable, type) and issubclass(trainable, tune.Trainable)
    kind = trainable if is_class else wrap_function(trainable)
    running = kind(config=configured(places, config), storage=_storage(folder))
    last: dict[str, float] = {}
    try:
        while not last.get(DONE) and not _reached(last, stop):
            found = running.train()
            if RESULT_DUPLICATE in found:  # a function has returned
                break
            last = flatten_dict(found)
    finally:
        running.stop()
    own = {*AUTO_RESULT_KEYS, *DEBUG_METRICS, DONE, "should_checkpoint"} - {TRAINING_ITERATION}
    is_number = {key: hasattr(value, "item") or type(value) in (int, float) for key, value in last.items()}
    return {
        key: value
        for key, value in last.items()
        if is_number[key] and key not in own and not key.startswith("config/")
    }


def configured(places: Mapping[str, object], config: Mapping[str, Value]) -> dict[str, object]:
    """Return the configuration that a trainable is given.

    Args:
        places: Its constant part; a text ``{name}`` in it stands for the value of a parameter, and is left
            out where that is inactive. Parameters that no text names stand beside it.
        config: Values of the parameters.
    """
    named: set[str] = set()

    def filled(part: object) -> object:
        if isinstance(part, Mapping):
            pairs = {key: filled(item) for key, item in part.items()}
            return {key: value for key, value in pairs.items() if value is not _INACTIVE}
        if isinstance(part, list):
            return [value for value in map(filled, part) if value is not _INACTIVE]
        if isinstance(part, str) and part.startswith("{") and len(names := placeholders(part)) == 1:
            named.update(names)
            return config.get(names[0], _INACTIVE)
        return part

    found = filled(places)
    rest: dict[str, object] = {name: value for name, value in config.items() if name not in named}
    return rest | found if isinstance(found, dict) else {}


_INACTIVE = object()


def _reached(result: Mapping[str, float], stop: Mapping[str, float]) -> bool:
    return any(key in result and result[key] >= bound for key, bound in stop.items())


def _storage(folder: Path) -> StorageContext:
    """Return the storage of a trial that has a folder to itself; Tune's own is in a cluster's session.

    A trainable saves nothing without one, and no public name makes it: the bound on Ray's version in
    `pyproject.toml` is for it too.
    """
    from ray.train._internal.storage import StorageContext

    class Folder(StorageContext):
        """A storage whose paths lie in the folder of the trial."""

        trial_driver_staging_path = str(folder / "trainable" / "driver")
        trial_working_directory = str(folder / "trainable" / "files")

    os.makedirs(Folder.trial_driver_staging_path, exist_ok=True)
    os.makedirs(Folder.trial_working_directory, exist_ok=True)
    return Folder(str(folder), experiment_dir_name="trainable", trial_dir_name="checkpoints")


if __name__ == "__main__":
    main()
