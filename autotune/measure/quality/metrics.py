r"""The metrics of quality.

* ``quality.token_agreement``: positions at which two greedy answers have the same token, over the positions
  of the longer of the two, summed over prompts. After the first difference few positions agree by chance, so
  that the share tells how far answers go along with each other. Words are compared where tokens are unknown.
* ``quality.exact_match``: share of tasks whose answer, up to the end of its first line that is not empty, is
  the expected text but for case, outer blanks and a full stop.
* ``quality.perplexity``: :math:`\exp` of the mean over windows of the mean negative log likelihood per token;
  its error by the delta method ([JM]_, 3.3).

.. [JM] Jurafsky, Martin, Speech and Language Processing, 3rd ed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.core.answer import Answer
from autotune.core.measurement import Estimate
from autotune.measure.statistics.estimate import ratio


def token_agreement(answers: Sequence[Answer], reference: Sequence[Answer]) -> Estimate:
    """Return the share of positions at which answers agree with those of the reference.

    Formula: sum over prompts of equal positions / sum of the longer lengths; the error is between prompts.

    Raises:
        ValueError: They are not of the same prompts.
    """
    if len(answers) != len(reference) or not answers:
        raise ValueError(f"{len(answers)} answers cannot be compared with {len(reference)}")
    by_token = all(answer.tokens is not None for answer in (*answers, *reference))
    equal, longest = [], []
    for answer, other in zip(answers, reference, strict=True):
        mine, theirs = answer.units(by_token), other.units(by_token)
        equal.append(float(sum(a == b for a, b in zip(mine, theirs, strict=False))))
        longest.append(float(max(len(mine), len(theirs))))
    if not sum(longest):
        return Estimate(1.0, None, len(answers))  # both say nothing, to every prompt
    return ratio(equal, longest, "1")


def exact_match(answers: Sequence[Answer], expected: Sequence[str]) -> Estimate:
    """Return the share of answers that are what was expected.

    Formula: right / tasks; sem = sqrt(share * (1 - share) / tasks).
    """
    right = [plain(answer.text) == plain(text) for answer, text in zip(answers, expected, strict=True)]
    share = sum(right) / len(right)
    return Estimate(share, math.sqrt(share * (1 - share) / len(right)), len(right))


def plain(text: str) -> str:
    """Return the first line of a text that is not empty, without case, outer blanks and full stop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else "").removesuffix(".").strip().casefold()


def perplexity(losses: Sequence[float]) -> Estimate | None:
    """Return the perplexity from the losses of windows, or ``None`` from none."""
    return Estimate.mean_of(losses).exp() if losses else None
