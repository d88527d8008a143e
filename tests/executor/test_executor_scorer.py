"""The user's scorer: a function or a command, in a supervised process of its own."""

import time

import pytest

from autotune.core.answer import Answer
from autotune.core.measurement import Cause, Estimate
from autotune.executor.quality import run_scorer
from autotune.systems.base import AttemptFailed

pytestmark = pytest.mark.timeout(60)

MINE = """
import time
def share(items):
    print("scoring")
    return [float(item["answer"] in item["prompt"]) for item in items]
def fails(items):
    raise KeyError("no reference for this prompt")
def text(items):
    return "good"
def slow(items):
    time.sleep(60)
"""


@pytest.fixture
def score(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)

    def run(scorer, seconds=30.0):
        folder = tmp_path / "attempt"
        folder.mkdir(exist_ok=True)
        prompts, answers = ["a b", "c d"], [Answer("b"), Answer("x")]
        deadline = time.monotonic() + seconds
        return run_scorer(scorer, prompts, answers, str(tmp_path), folder, "store/s/0/1", deadline)

    return run


def test_a_function_gives_a_score_per_answer(score, tmp_path):
    assert score("mine.py:share") == Estimate(0.5, 0.5, 2)
    assert (tmp_path / "attempt" / "scorer.log").read_text() == "scoring\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(sum(1 for line in sys.stdin))", Estimate(2.0)),
        ("print('done', json.dumps(1)); print(json.dumps({'value': 3, 'sem': 1}))", Estimate(3.0, 1.0)),
        ("print(json.dumps({'score': 0.25}))", Estimate(0.25)),
    ],
)
def test_a_command_reads_answers_and_prints_a_number(score, code, expected):
    import sys

    assert score([sys.executable, "-c", f"import json, sys; {code}"]) == expected


@pytest.mark.parametrize(
    ("scorer", "cause", "said"),
    [
        ("mine.py:fails", Cause.INVALID_MEASUREMENT, "no reference for this prompt"),
        ("mine.py:text", Cause.WRONG_OUTPUT, "must be a number, found 'good'"),
        (["false"], Cause.INVALID_MEASUREMENT, "ended with 1"),
        (["echo"], Cause.WRONG_OUTPUT, "must be a number, found None"),
    ],
)
def test_a_scorer_that_fails_is_not_the_configurations_fault(score, scorer, cause, said):
    with pytest.raises(AttemptFailed) as caught:
        score(scorer)
    assert caught.value.failure.cause is cause
    assert said in caught.value.failure.message


def test_a_scorer_that_hangs_is_ended(score):
    with pytest.raises(AttemptFailed, match="did not end in time"):
        score("mine.py:slow", seconds=2.0)
