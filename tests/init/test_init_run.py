"""``autotune run MODEL`` for real: a small model, measured by transformers in processes of its own."""

import json

import pytest

from autotune.init.starter import Options


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Make a model of random weights with a short context."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    from autotune.systems.transformers.make_model import save_tokenizer

    folder = tmp_path_factory.mktemp("models") / "a small model"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=save_tokenizer(folder),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=192,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_model_is_tuned_without_a_file_and_a_second_run_goes_on(
    model, autotune_command, autotune_here, tmp_path
):
    settings = (  # one thread: two of them wait busily for each other where other tests run
        "parameters.threads.default=1",
        "parameters.tensor_parallel.values=[1]",
        "parameters.threads.values=[1]",
        "budget.confirm=0",
        "engine={use: random, seed: 0}",
        "workload.time=0.5 s",
        "workload.min_batches=2",
        "workload.warmup=1",
        "workload.precision=90 %",
        "objective.limits=[]",
        "quality.prompts=1",
        "quality.max_tokens=2",
    )
    quick = ["--workload", "code", "--local", "--no-mlflow", *(w for s in settings for w in ("--set", s))]
    first = autotune_command("run", model, *quick, "--set", "budget.trials=1", timeout=600)
    assert first.stderr.startswith("wrote a-small-model-code.yaml\n  transformers ")
    assert "1 trial, 1 measured" in first.stdout
    file = tmp_path / "a-small-model-code.yaml"
    assert str(model) in file.read_text()
    file.write_text(f"# mine\n{file.read_text()}")
    again = autotune_here("run", model, *quick, "--set", "budget.trials=2", "--json")
    assert "taken as it is" in again.stderr
    assert file.read_text().startswith("# mine")
    states = [json.loads(line) for line in again.stdout.splitlines() if line.startswith("{")]
    assert states
    status = autotune_here("status", "a-small-model-code", "--json")
    assert len(json.loads(status.stdout)["trials"]) == 2  # the first was not measured again


def test_options_say_what_a_person_typed():
    options = Options(system="vllm", limits=("ttft.p99 <= 500 ms",), workload="rag")
    assert options.words() == ["--system", "vllm", "--workload", "rag", "--limit", "ttft.p99 <= 500 ms"]
    assert Options().words() == []
