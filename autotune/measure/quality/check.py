"""Check the quality of a system that has just been loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autotune.core.answer import Answer
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Estimate
from autotune.measure.quality.answers import Source
from autotune.measure.quality.metrics import exact_match, perplexity, token_agreement

Scorer = Callable[[Sequence[str], Sequence[Answer]], Estimate]


def check_quality(
    wanted: JsonObject, source: Source, deadline: float, score: Scorer
) -> tuple[dict[str, Estimate], dict[str, object]]:
    """Return the metrics of quality and what they rest on.

    Args:
        wanted: Result of :meth:`autotune.measure.quality.section.Quality.loaded`, with ``reference``: the
            answers of the default configuration, or ``None``; and ``is_default``: whether this is it.
        source: Answers.
        deadline: ``time.monotonic()`` value.
        score: Function that runs the user's scorer.

    Returns:
        Metrics, and facts: the default's ``answers`` are among them, for those that come after it.

    Raises:
        NoAnswer: The system did not answer.
    """
    metrics: dict[str, Estimate] = {}
    facts: dict[str, Any] = {"max_tokens": wanted["max_tokens"]}
    prompts = wanted["prompts"]
    if prompts:
        answers = source.answers(prompts, wanted["max_tokens"], deadline)
        facts["by"] = "tokens" if all(answer.tokens is not None for answer in answers) else "words"
        if wanted["agreement"]:
            stored = wanted.get("reference")
            reference = [Answer.from_dict(data) for data in stored] if stored else None
            if reference is None and wanted.get("is_default"):
                # Against itself: a server whose answers change from run to run shows here.
                reference = source.answers(prompts, wanted["max_tokens"], deadline)
                facts["answers"] = [answer.to_dict() for answer in answers]
            if reference is None:
                facts["not_compared"] = "the default configuration has not been measured"
            else:
                metrics["quality.token_agreement"] = token_agreement(answers, reference)
        if wanted["scorer"]:
            metrics["quality.score"] = score(prompts, answers)
    if wanted["tasks"]:
        asked = source.answers([task["prompt"] for task in wanted["tasks"]], wanted["max_tokens"], deadline)
        metrics["quality.exact_match"] = exact_match(asked, [task["answer"] for task in wanted["tasks"]])
    if wanted["text"]:
        found = perplexity(source.losses(wanted["text"], deadline))
        if found is None:
            facts["no_perplexity"] = "the server does not tell how likely a text is"
        else:
            metrics["quality.perplexity"] = found
    return metrics, facts
