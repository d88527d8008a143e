"""A faster configuration that answers wrongly is caught by the limit on agreement, on a real model."""

import pytest

from autotune.core.trial import TrialState
from autotune.report.plain import QuietView
from autotune.study.run import run_study
from autotune.study.study_file import read_study
from autotune.systems.transformers.make_model import made_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STUDY = """
name: quality
parameters:
  quantization_bits: {type: ordinal, values: [16, 4], default: 16}
  threads: {type: ordinal, values: [1]}  # beside other tests
system: {use: transformers, model: tiny, device: cpu}
workload: {prompt_tokens: 8, output_tokens: 4, precision: 99 %, time: 1 s, warmup: 1, min_batches: 2}
quality: {prompts: 12, max_tokens: 24, tasks: tasks.jsonl, text: text.txt, scorer: "score.py:length"}
objective: {minimize: memory.weights, limits: [quality.token_agreement >= 0.99]}
budget: {trials: 2, confirm: 0}
engine: sobol
tracking: {mlflow: none}
"""


@pytest.mark.skipif(not made_model().target.exists(), reason="the small model is made by its own tests")
def test_fewer_bits_are_smaller_and_refused_for_their_answers(tmp_path):
    (tmp_path / "tasks.jsonl").write_text('{"prompt": "for x in", "answer": "nothing like it"}\n')
    (tmp_path / "text.txt").write_text("The following sections describe the statements. " * 8)
    (tmp_path / "score.py").write_text(
        "def length(items):\n    return [len(item['answer']) for item in items]\n"
    )
    (tmp_path / "study.yaml").write_text(STUDY)
    done = run_study(
        read_study(tmp_path / "study.yaml"), store=tmp_path / "store", view=QuietView(), local=True
    )
    assert [t.state for t in done.view.trials] == [TrialState.COMPLETED] * 2, done.view.trials
    default, small = done.view.trials
    assert small.config["quantization_bits"] == 4
    assert small.metrics["memory.weights"].value < default.metrics["memory.weights"].value
    assert default.metrics["quality.token_agreement"].value == 1.0
    assert small.metrics["quality.token_agreement"].value < 0.99
    assert done.view.best.config == default.config
    assert default.metrics["quality.exact_match"].value == 0.0
    assert default.metrics["quality.score"].n == 12
    assert 1 < default.metrics["quality.perplexity"].value < small.metrics["quality.perplexity"].value * 1.5
    assert len(default.measurement.facts["quality"]["answers"]) == 12
    assert small.measurement.facts["quality"]["by"] == "tokens"
