"""The system's own logic: its section, refusals, commands, diagnosis, the small models, batch generation."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.core.measurement import Cause
from autotune.errors import EnvironmentProblem, SpecError
from autotune.systems.diagnosis import diagnose
from autotune.systems.transformers.generation import Drafting
from autotune.systems.transformers.make_model import HELD_OUT, corpus, made_model, make_model
from autotune.systems.transformers.options import Options
from autotune.systems.transformers.system import TransformersSystem

from tests.systems.transformers.conftest import DRAFT, TARGET  # isort: skip


def test_the_section_round_trips_and_mistakes_are_named():
    data = {"model": "m", "draft_model": "d", "device": "cpu", "dtype": "float16", "memory_limit": "2 GiB"}
    system = TransformersSystem.from_dict(data)
    assert system.memory_limit == 2**31
    assert TransformersSystem.from_dict(system.to_dict()) == system
    for wrong, message in (
        ({}, "needs a model"),
        ({"model": "m", "modle": "x"}, "did you mean 'model'"),
        ({"model": "m", "device": "tpu"}, "allowed: auto, cpu, cuda"),
        ({"model": "m", "dtype": "float32"}, "allowed: bfloat16, float16"),
        ({"model": "m", "memory_limit": "2 s"}, "size"),
        ({"model": ["m"]}, "model must be text"),
    ):
        with pytest.raises(SpecError, match=message):
            TransformersSystem.from_dict(wrong)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"batch_size": 4, "draft_length": 2}, "one sequence at a time"),
        ({"quantization_bits": 5}, "16, 8 or 4"),
        ({"tensor_parallel": 2, "quantization_bits": 4}, "cannot be split"),
        ({"batch_size": 0}, "at least 1"),
        ({"threads": "two"}, "whole number"),
        ({"batchsize": 2}, "did you mean 'batch_size'"),
    ],
)
def test_what_cannot_run_is_refused_before_launching(config, part):
    failure = TransformersSystem("m", draft_model="d").check(config)
    assert failure.cause is Cause.REJECTED_FLAGS
    assert part in failure.message


def test_drafting_needs_a_draft_model():
    assert "draft_model" in TransformersSystem("m").check({"draft_length": 2}).message
    assert TransformersSystem("tiny").check({"draft_length": 2}) is None


def test_resources_follow_the_configuration():
    assert TransformersSystem("m").resources({"tensor_parallel": 2, "threads": 3}) == {"cpus": 6.0}
    assert TransformersSystem("m", device="cuda").resources({"tensor_parallel": 2}) == {
        "cpus": 2.0,
        "gpus": 2.0,
    }


def test_options_survive_the_command_line(tmp_path):
    system = TransformersSystem("m", draft_model="d", memory_limit=10**9, perplexity_text="t")
    config = {"batch_size": 1, "quantization_bits": 8, "draft_length": 3, "tensor_parallel": 2, "threads": 2}
    command = system.command(config, tmp_path)
    assert Options.from_argv(command.argv[4:], "x") == system.options(config)
    assert command.processes == 2
    assert command.env["OMP_NUM_THREADS"] == "2"
    assert list(system.deploy({"batch_size": 8}).argv) == [
        sys.executable, "-P", "-m", "autotune.systems.transformers.generate", "--model", "m", "--device",
        "auto", "--dtype", "bfloat16", "--batch-size", "8", "--quantization-bits", "16",
        "--tensor-parallel", "1", "--memory-limit", "1000000000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "log", "cause"),
    [
        (1, "libgomp: Thread creation failed: Resource temporarily unavailable", Cause.OUT_OF_MEMORY),
        (-2, "OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 2: x", Cause.OUT_OF_MEMORY),
        (1, "RuntimeError: could not create a primitive\nmore", Cause.OUT_OF_MEMORY),
        (1, "RuntimeError: could not create a primitive descriptor", Cause.CRASHED_UNDER_LOAD),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", Cause.OUT_OF_MEMORY),
        (1, "RuntimeError: [enforce] DefaultCPUAllocator: can't allocate memory", Cause.OUT_OF_MEMORY),
        (-9, "", Cause.OUT_OF_MEMORY),
        (-11, "something", Cause.CRASHED_UNDER_LOAD),
        (1, "[rank1]: ValueError: no tp_plan for this model", Cause.REJECTED_FLAGS),
        (2, "python -m x: error: argument --dtype: invalid choice", Cause.REJECTED_FLAGS),
        (1, "OSError: [Errno 28] No space left on device", Cause.DISK_FULL),
        (1, "", Cause.CRASHED_UNDER_LOAD),
    ],
)
def test_diagnosis_reads_exit_codes_and_logs(code, log, cause):
    failure = diagnose(code, log)
    assert failure.cause is cause
    assert failure.message
    assert "[rank" not in failure.message


def test_acceptance_counts_only_what_could_be_drafted():
    drafting = Drafting()
    drafting.add([4, 1, 3], draft_length=3, wanted=8)
    # 3 drafted with 7 to go, 3 with 3 to go, then 2 because the target adds the last token itself
    assert (drafting.drafted, drafting.accepted) == (3 + 3 + 2, 3 + 0 + 2)
    assert drafting.steps == [4, 1, 3]


def test_models_are_made_once_and_kept(pair):
    paths, lines = pair
    assert lines[0].startswith("training a small model once")
    again = []
    folder = paths.target.parent.parent
    assert make_model(folder, target=TARGET, draft=DRAFT, log=again.append) == paths
    assert again == []
    assert made_model(folder, target=TARGET, draft=DRAFT) == paths
    assert made_model(folder, seed=1, target=TARGET, draft=DRAFT) != paths
    assert not list(folder.glob(".making-*"))
    train, held_out = corpus()
    assert (paths.target / HELD_OUT).read_bytes() == held_out
    assert held_out not in train


def test_prepare_names_what_is_missing(tmp_path):
    with pytest.raises(EnvironmentProblem, match="no such file or folder"):
        TransformersSystem(str(tmp_path / "nowhere")).prepare(log=lambda _: None)


@pytest.mark.parametrize(
    "config",
    [{"batch_size": 2}, pytest.param({"batch_size": 2, "quantization_bits": 8}, marks=pytest.mark.slow)],
)
def test_the_deployed_command_generates(pair, tmp_path, config):
    paths, _ = pair
    system = TransformersSystem(str(paths.target), draft_model=str(paths.draft), device="cpu")
    deployed = system.deploy(config)
    line = replace(deployed, stdin="import os\n\nfor x in\ndef f(").line
    empty = ["env", "-i", f"HOME={Path.home()}", "PATH=/usr/bin:/bin", "AUTOTUNE_MAX_TOKENS=6"]
    done = subprocess.run(
        [*empty, "bash", "-c", line],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["prompt"] for answer in answers] == ["import os", "for x in", "def f("]
    assert all(answer["answer"] for answer in answers)
    assert list(tmp_path.iterdir()) == []
