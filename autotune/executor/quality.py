"""The quality phase of an attempt: whom to ask, and the user's scorer in a process of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.core.answer import Answer
from autotune.core.endpoint import foreign_json
from autotune.core.environment import import_path, own_module, server_environment
from autotune.core.file_names import ANSWERS_NAME, SCORE_NAME, SCORER_LOG
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Cause, Estimate, Failure, as_estimates
from autotune.errors import SpecError, UnitError
from autotune.executor.attempt_files import log_tail
from autotune.executor.process import SupervisedProcess
from autotune.measure.quality.answers import BatchSource, EndpointSource, NoAnswer
from autotune.measure.quality.check import check_quality
from autotune.systems.base import Answering, AttemptFailed, Driver, ServedDriver

_POLL_S = 0.02
_MOST_SAID = 500  # characters of a line that are a message
_MOSTSCORE_NAME = 16 << 20  # bytes of a score: one estimate, or a list of samples
_METRIC = "quality.score"


def quality_of(
    driver: Driver, wanted: JsonObject, *, batch_size: int, folder: Path, mark: str, deadline: float
) -> tuple[dict[str, Estimate], dict[str, object]]:
    """Return the metrics of quality of a loaded system, and what they rest on.

    Args:
        driver: Driver of the system.
        wanted: Argument of :func:`autotune.measure.quality.check.check_quality`.
        batch_size: Most requests at once of a system that runs batches.
        folder: Folder of the attempt; answers, score and the scorer's log are left there.
        mark: Environment mark of what is launched.
        deadline: ``time.monotonic()`` value.

    Raises:
        AttemptFailed: The system did not answer, or the scorer gave no score.
    """
    if isinstance(driver, ServedDriver):
        source: Any = EndpointSource(driver.endpoint())
    elif isinstance(driver, Answering):
        source = BatchSource(driver, batch_size)
    else:
        return {}, {"skipped": "this system answers no prompts"}

    def score(prompts: Sequence[str], answers: Sequence[Answer]) -> Estimate:
        return run_scorer(wanted["scorer"], prompts, answers, wanted["folder"], folder, mark, deadline)

    try:
        return check_quality(wanted, source, deadline, score)
    except NoAnswer as error:
        cause = Cause.WRONG_OUTPUT if error.malformed else Cause.CRASHED_UNDER_LOAD
        if error.redirected:
            cause = Cause.OWNER_MISTAKE
        raise AttemptFailed(Failure(cause, f"quality check: {error}")) from None


def run_scorer(
    scorer: str | Sequence[str],
    prompts: Sequence[str],
    answers: Sequence[Answer],
    home: str,
    folder: Path,
    mark: str,
    deadline: float,
) -> Estimate:
    """Return what the user's scorer says of the answers.

    Raises:
        AttemptFailed: ``invalid_measurement``: it failed or took too long, which says nothing of the
            configuration; ``wrong_output``: it gave no number.
    """
    lines = [
        json.dumps({"prompt": prompt, "answer": answer.text})
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    (folder / ANSWERS_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = folder / SCORE_NAME
    result.unlink(missing_ok=True)
    order = json.dumps(scorer if isinstance(scorer, str) else list(scorer))
    argv = own_module("autotune.executor.scorer", order, str(folder / ANSWERS_NAME), str(result))
    env = server_environment(import_path())
    with SupervisedProcess(
        argv, env=env, log=folder / SCORER_LOG, cwd=Path(home), mark=mark, grace_s=1.0
    ) as run:
        while run.poll() is None:
            if time.monotonic() > deadline:
                raise AttemptFailed(Failure(Cause.INVALID_MEASUREMENT, "the scorer did not end in time"))
            time.sleep(_POLL_S)
        code = run.poll()
    if code != 0:
        said = log_tail(folder / SCORER_LOG)
        last = (said.strip().splitlines() or ["no output"])[-1][:_MOST_SAID]
        text = f"the scorer ended with {code}: {last}"
        raise AttemptFailed(Failure(Cause.INVALID_MEASUREMENT, text, said))
    try:
        if result.stat().st_size > _MOSTSCORE_NAME:
            raise ValueError(f"it wrote more than {_MOSTSCORE_NAME >> 20} MiB")
        score = foreign_json(result.read_text(encoding="utf-8"))
        return as_estimates({_METRIC: score})[_METRIC]
    except UnitError as error:
        raise AttemptFailed(Failure(Cause.OWNER_MISTAKE, f"the scorer: {error.line}")) from None
    except (SpecError, ValueError, TypeError) as error:
        raise AttemptFailed(Failure(Cause.WRONG_OUTPUT, f"the scorer gave no score: {error}")) from None
