"""Flags: how values become words, what is refused, how tables are read and compared."""

import json
import sys

import pytest

from autotune.core.measurement import Cause
from autotune.errors import EnvironmentProblem, SpecError
from autotune.systems.registry import build_system
from autotune.systems.served.drift import HELP, PROBED, drift, installed, llama_cpp_flags, ollama_flags
from autotune.systems.served.flags import Flag, FlagTable, table

LLAMA_HELP = """\
----- common params -----

-h,    --help, --usage                  print usage and exit
-t,    --threads N                      number of CPU threads to use during generation (default: -1)
                                        (env: LLAMA_ARG_THREADS)
--prio N                                set process/thread priority : low(-1), normal(0), medium(1)
                                        (default: 0)
--poll <0...100>                        use polling level to wait for work (0 - no polling, default: 50)
-fa,   --flash-attn [on|off|auto]       set Flash Attention use ('on', 'off', or 'auto', default: 'auto')
-kvo,  --kv-offload, -nkvo, --no-kv-offload
                                        whether to enable KV cache offloading (default: enabled)
-ctk,  --cache-type-k TYPE              KV cache data type for K
                                        allowed values: f32, f16, q8_0
                                        (default: f16)
--numa TYPE                             attempt optimizations that help on some NUMA systems
                                        - distribute: spread execution evenly over all nodes
                                        - isolate: only spawn threads on CPUs on the node
--swa-full                              use full-size SWA cache (default: false)
--draft, --draft-n N                    the argument has been removed. use --spec-draft-n-max
"""

OLLAMA_HELP = """\
Environment Variables:
      OLLAMA_DEBUG               Show additional debug information (e.g. OLLAMA_DEBUG=1)
      OLLAMA_KEEP_ALIVE          The duration that models stay loaded in memory (default "5m")
      OLLAMA_NUM_PARALLEL        Maximum number of parallel requests
      OLLAMA_SCHED_SPREAD        Always schedule model across all GPUs
"""


@pytest.mark.parametrize("server", [*PROBED, *HELP])
def test_each_server_has_a_table_that_reads_back(server):
    shipped = table(server)
    assert shipped.server == server
    assert shipped.version
    assert shipped.source
    assert len(shipped.flags) > 10
    assert FlagTable.from_dict(json.loads(shipped.to_json())) == shipped
    assert drift(shipped, shipped) == []


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        (Flag("max_num_seqs", "--max-num-seqs", "int"), 64, ["--max-num-seqs", "64"]),
        (Flag("util", "--util", "float"), 0.9, ["--util", "0.9"]),
        (Flag("eager", "--eager", "toggle"), True, ["--eager"]),
        (Flag("eager", "--eager", "toggle"), False, ["--no-eager"]),
        (Flag("mixed", "--mixed", "switch", False), True, ["--mixed"]),
        (Flag("mixed", "--mixed", "switch", False), False, []),
        (Flag("spec", "--spec", "json"), {"method": "ngram", "n": 3}, ["--spec", '{"method":"ngram","n":3}']),
        (Flag("backend", "--backend", "text", None, ("a", "b")), "auto", []),
        (Flag("dtype", "--dtype", "text", "auto", ("auto", "fp8")), "auto", ["--dtype", "auto"]),
    ],
)
def test_values_of_a_flag_become_words_of_a_command_line(flag, value, words):
    assert flag.refuses(value) == ""
    assert flag.words(value) == words


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        (Flag("n", "--n", "int"), 1.5, "takes a whole number, found 1.5"),
        (Flag("n", "--n", "int"), True, "takes a whole number, found True"),
        (Flag("x", "--x", "float"), "fast", "takes a number, found 'fast'"),
        (Flag("t", "--t", "toggle"), 1, "takes true or false, found 1"),
        (Flag("c", "--c", "text", "fcfs", ("fcfs", "priority")), "fcsf", "did you mean 'fcfs'?"),
        (Flag("c", "--c", "text", "fcfs", ("fcfs", "priority")), "Auto", "allowed: fcfs, priority"),
        (Flag("n", "--n", "int", 4), [1, 2], "takes one value, found the list [1, 2]"),
        (Flag("n", "--n", "int"), [1, "two"], "takes a whole number, found 'two'"),
        (Flag("n", "--n", "int"), "8k", "takes a whole number, found '8k'"),
    ],
)
def test_what_the_server_would_refuse_is_refused_before(flag, value, reason):
    assert reason in flag.refuses(value)


def test_the_help_of_llama_server_is_understood():
    found = {flag.name: flag for flag in llama_cpp_flags(LLAMA_HELP)}
    shapes = {name: (f.flag, f.kind, f.default, f.choices) for name, f in found.items() if name != "help"}
    assert shapes == {
        "threads": ("--threads", "int", -1, None),
        "prio": ("--prio", "int", 0, None),
        "poll": ("--poll", "int", 50, None),
        "flash_attn": ("--flash-attn", "text", "auto", ("on", "off", "auto")),
        "kv_offload": ("--kv-offload", "toggle", True, None),
        "cache_type_k": ("--cache-type-k", "text", "f16", ("f32", "f16", "q8_0")),
        "numa": ("--numa", "text", None, ("distribute", "isolate")),
        "swa_full": ("--swa-full", "switch", False, None),
    }


def test_the_environment_of_ollama_is_understood():
    found = {flag.name: (flag.flag, flag.kind, flag.default) for flag in ollama_flags(OLLAMA_HELP)}
    assert found["ollama_num_parallel"] == ("OLLAMA_NUM_PARALLEL", "int", None)
    assert found["ollama_keep_alive"] == ("OLLAMA_KEEP_ALIVE", "text", "5m")
    assert found["ollama_sched_spread"] == ("OLLAMA_SCHED_SPREAD", "toggle", None)


def test_drift_names_what_changed():
    def of(**flags):
        return FlagTable("x", "1", "a test", {f.name: f for f in flags.values()})

    old = of(
        a=Flag("a", "--a", "int", 1), b=Flag("b", "--b", "text", None, ("x", "y")), c=Flag("c", "--c", "int")
    )
    new = of(
        a=Flag("a", "--a", "int", 2), b=Flag("b", "--b", "text", None, ("y", "z")), d=Flag("d", "--d", "json")
    )
    assert drift(old, new) == [
        "a: default 1 -> 2",
        "b: choices gained z and lost x",
        "c: gone, was --c",
        "d: new, --d, json, default None",
    ]


def test_a_server_that_is_not_there_is_said(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot run"):
        installed("llama_cpp", str(tmp_path / "nowhere"))
    with pytest.raises(EnvironmentProblem, match=r"ended with 1: ModuleNotFoundError|No module named"):
        installed("sglang", sys.executable)


def test_unknown_and_wrong_flags_are_named():
    system = build_system({"use": "vllm", "model": "m"})
    failure = system.check({"max_num_seq": 8})
    assert failure.cause is Cause.REJECTED_FLAGS
    assert failure.message == "'max_num_seq' is no flag of vllm 0.33.0; did you mean 'max_num_seqs'?"
    assert (
        "max_num_batched_tokens 64 is below"
        in system.check({"max_num_batched_tokens": 64, "max_num_seqs": 128}).message
    )
    assert "needs a draft_model" in system.check({"draft_length": 3, "draft_method": "eagle3"}).message
    with pytest.raises(SpecError, match="'max_model_length' is no flag of vllm") as caught:
        build_system({"use": "vllm", "model": "m", "flags": {"max_model_length": "8192"}})
    assert caught.value.path == ("flags", "max_model_length")
    with pytest.raises(SpecError, match="enforce_eager takes true or false, found 'yes'"):
        build_system({"use": "vllm", "model": "m", "flags": {"enforce_eager": "yes"}})
    with pytest.raises(SpecError, match="a sglang system needs a model"):
        build_system({"use": "sglang"})


def test_a_section_with_flags_is_read_back():
    section = {"use": "vllm", "model": "m", "draft_model": "d", "flags": {"max_num_seqs": "8", "seed": 0}}
    system = build_system(section)
    assert system.flags == {"max_num_seqs": 8, "seed": 0}
    assert build_system({"use": "vllm", **system.to_dict()}) == system


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"use": "onnxruntime", "model": "m"}, "onnxruntime cannot be measured: ONNX Runtime has no server"),
        ({"use": "triton", "model": "m"}, "triton cannot be measured: Triton's protocol"),
        ({"use": "vllm", "model": "m", "program": "/no/vllm"}, "vllm needs '/no/vllm'"),
        ({"use": "vllm", "model": "m", "program": sys.executable}, "has no vllm"),
        ({"use": "llama_cpp", "model": "/no/such.gguf", "program": "/bin/true"}, "no such file or folder"),
        ({"use": "openvino", "model": "m"}, "needs a Python that has openvino-genai, or ovms"),
    ],
)
def test_what_cannot_be_launched_is_said_before_anything_runs(section, said, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentProblem, match=said):
        build_system(section).prepare(print)


@pytest.mark.parametrize(
    ("section", "config", "expected"),
    [
        ({"use": "vllm"}, {"draft_length": 3, "draft_method": "ngram", "prompt_lookup_max": 4},
         ["vllm", "serve", "m", "--speculative-config",
          '{"method":"ngram","num_speculative_tokens":3,"prompt_lookup_max":4}']),
        ({"use": "vllm", "draft_model": "d"}, {"draft_length": 2},
         ["vllm", "serve", "m", "--speculative-config",
          '{"method":"draft_model","num_speculative_tokens":2,"model":"d"}']),
        ({"use": "vllm"}, {"quantization_bits": 8, "draft_length": 0},
         ["vllm", "serve", "m", "--quantization", "fp8_per_tensor"]),
        ({"use": "sglang", "draft_model": "d"}, {"speculative_algorithm": "EAGLE3", "draft_length": 4},
         ["python", "-m", "sglang.launch_server", "--model-path", "m", "--speculative-algorithm", "EAGLE3",
          "--speculative-num-draft-tokens", "4", "--speculative-num-steps", "3", "--speculative-eagle-topk",
          "1", "--speculative-draft-model-path", "d"]),
        ({"use": "llama_cpp", "model": "m-{quantization}.gguf", "draft_model": "d.gguf"},
         {"model_quantization": "Q4_K_M", "draft_length": 4},
         ["llama-server", "--model", "m-Q4_K_M.gguf", "--spec-draft-model", "d.gguf", "--spec-draft-n-max",
          "4"]),
        ({"use": "openvino"}, {"weight_format": "int4", "quantization_group_size": 64, "threads": 4},
         ["ovms", "--source_model", "m", "--task", "text_generation", "--model_repository_path",
          "/cache/autotune/ovms/int4-64", "--weight-format", "int4",
          "--extra_quantization_params", "--group-size 64", "--plugin_config",
          '{"INFERENCE_NUM_THREADS":"4"}']),
        ({"use": "ollama"}, {"num_parallel": 4, "flash_attention": True},
         ["env", "OLLAMA_NUM_PARALLEL=4", "OLLAMA_FLASH_ATTENTION=1", "OLLAMA_HOST=127.0.0.1:8000",
          "ollama", "serve"]),
        ({"use": "onnxruntime"}, {"enable_cpu_mem_arena": False, "execution_mode": "ORT_PARALLEL"},
         ["onnxruntime_perf_test", "-e", "cpu", "-A", "-P", "m"]),
    ],
    ids=["ngram", "draft", "bits", "eagle", "gguf", "openvino", "ollama", "onnxruntime"],
)  # fmt: skip
def test_words_that_mean_the_same_for_every_server(section, config, expected, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # programs that are here are named by their paths
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    where = {
        "openvino": ["--rest_bind_address", "127.0.0.1", "--rest_port", "8000"],
        "ollama": [], "onnxruntime": [],
    }.get(section["use"], ["--host", "127.0.0.1", "--port", "8000"])  # fmt: skip
    system = build_system({"model": "m", **section})
    assert system.check(config) is None
    assert system.deploy(config).words == [*expected, *where]


def test_triton_writes_a_configuration_file():
    system = build_system({"use": "triton", "model": "/models"})
    config = {
        "max_batch_size": 8, "dynamic_batching": True, "instance_count": 2,
        "dynamic_batching_max_queue_delay_microseconds": 100,
    }  # fmt: skip
    assert system.check(config) is None
    assert system.deploy(config).words == [
        "tritonserver", "--model-repository=/models", "--http-address=127.0.0.1", "--http-port=8000",
    ]  # fmt: skip
    assert system.deploy(config).files == system.files(config)
    assert system.files(config)["config.pbtxt"].splitlines() == [
        "dynamic_batching {", "  max_queue_delay_microseconds: 100", "}", "max_batch_size: 8",
        "instance_group {", "  count: 2", "}",
    ]  # fmt: skip
