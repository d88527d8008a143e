"""Studies of every kind of system with a confirmed winner, as a ledger holds them."""

from autotune.core.measurement import Estimate, Measurement
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.study.study import Study
from autotune.study.study_file import study_from_dict

MACHINE = {
    "cpu": "AMD EPYC 9654", "usable_cpus": 64.0, "memory_bytes": 2**38, "platform": "Linux-6.1", "gpus": [],
}  # fmt: skip
GPUS = {**MACHINE, "gpus": [{"name": "NVIDIA H200", "driver": "570.86.15"}] * 2}
UNITS = {"ttft.p99": "s", "output_throughput": "tokens/s"}

CASES = {
    "vllm": (
        {"use": "vllm", "model": "org/m", "env": {"VLLM_LOGGING_LEVEL": "1e3"},
         "flags": {"enable_prefix_caching": False, "hf_overrides": {"rope": {"factor": 2}}}},
        {"max_num_seqs": 64, "tensor_parallel": 2, "draft_length": 3, "prompt_lookup_max": 4},
        "0.11.0", GPUS,
    ),
    "vllm_cpu": (
        {"use": "vllm", "model": "/models/it's m", "draft_model": "/models/draft", "memory_limit": "8 GiB"},
        {"threads": 8, "draft_length": 2}, "0.11.0+cpu", MACHINE,
    ),
    "sglang": (
        {"use": "sglang", "model": "/models/m", "flags": {"cuda_graph_bs_decode": [1, 2, 4]}},
        {"max_running_requests": 64, "tensor_parallel": 2, "disable_radix_cache": True}, "0.5.4.post1", GPUS,
    ),
    "llama_cpp": (
        {"use": "llama_cpp", "model": "/models/m-{quantization}.gguf"},
        {"model_quantization": "Q8_0", "threads": 8}, "b6711-1d660d2fa", MACHINE,
    ),
    "llama_cpp_python": (
        {"use": "llama_cpp", "model": "/models/m.gguf", "program": "/server/bin/python"}, {"threads": 8},
        "0.3.16", MACHINE,
    ),
    "openvino": ({"use": "openvino", "model": "org/m"}, {"max_num_seqs": 64, "threads": 8}, "", MACHINE),
    "ovms": (
        {"use": "openvino", "model": "org/m", "program": "/opt/ovms/bin/ovms"},
        {"max_num_seqs": 64, "weight_format": "int4", "quantization_group_size": 64}, "2026.3", MACHINE,
    ),
    "tensorrt_llm": ({"use": "tensorrt_llm", "model": "org/m"}, {"max_batch_size": 64}, "1.0.0", GPUS),
    "ollama": ({"use": "ollama", "model": "llama3"}, {"num_parallel": 4}, "0.12.3", MACHINE),
    "openai_server": (
        {"use": "openai_server", "model": "m", "request": ["top_k"],
         "command": ["serve", "/models/50% of $HOME", "--host", "127.0.0.1", "--port", "{port}", "{n}"]},
        {"n": 4, "top_k": 40}, "", MACHINE,
    ),
    "openai_url": (
        {"use": "openai_server", "url": "https://models.example/api", "model": "m"},
        {"top_k": 40}, "", MACHINE,
    ),
    "transformers": ({"use": "transformers", "model": "tiny"}, {"batch_size": 8, "threads": 2}, "", MACHINE),
    "command": (
        {"use": "command", "argv": ["./bench", "{parameters}"], "folder": "/bench",
         "env": {"MODE": "{mode}"}},
        {"threads": 8, "mode": "fast 50%"}, "", MACHINE,
    ),
    "function": (
        {"use": "function", "call": "module:f", "folder": "/work"}, {"n": 4, "fast": True}, "", MACHINE,
    ),
    "ray_tune": (
        {"use": "ray_tune", "trainable": "module:f", "folder": "/work"}, {"n": 4, "fast": True}, "", MACHINE,
    ),
}  # fmt: skip
"""By name: system, winner, version that was measured, hardware."""


def parameter(value):
    if isinstance(value, bool):
        return {"type": "bool", "default": not value}
    if isinstance(value, str):
        return {"type": "categorical", "values": ["Q4_0", value]}
    return {"type": "ordinal", "values": [1, value]}


def record_study(
    folder, section, best, version="", hardware=MACHINE, *, launches=2, name="Chat_1", speeds=(100.0, 210.0),
    **more,
):  # fmt: skip
    """Make the ledger of a study: the default, a better configuration, and fresh launches of both.

    The search measured them at ``speeds``, in that order.
    """
    data = {
        "name": name, "parameters": {key: parameter(value) for key, value in best.items()},
        **({"system": section} if section else {}),
        "objective": {"maximize": "output_throughput", "limits": ["ttft.p99 <= 500 ms"]},
        **({"workload": {"concurrency": 8}} if section.get("use") not in OWN else {}),
        "tracking": {"mlflow": "none"}, "deadlines": {"startup": "5 min"}, **more,
    }  # fmt: skip
    spec = study_from_dict(data)
    study = Study(
        spec.space, spec.objective, engine="random", name=spec.name, path=folder / "ledger.sqlite",
        spec=spec.to_dict(),
    )  # fmt: skip
    default = spec.space.default_config
    plan = [(default, Reason.DEFAULT, speeds[0]), (best, Reason.EXPLOIT, speeds[1])]
    plan += [(best, Reason.CONFIRM, 200.0), (default, Reason.CONFIRM, 101.0)] * launches
    for config, reason, speed in plan:
        record_trial(study, config, reason, {"output_throughput": speed, "ttft.p99": 0.2}, version, hardware)
    study.ledger.set_study_state(spec.name, "COMPLETED")
    return study


def record_trial(study, config, reason, values, version="", hardware=MACHINE):
    """Enter a measured trial."""
    trial = study.suggest(Suggestion(dict(config), reason))
    attempt = study.start_attempt(trial.number, executor="test")
    metrics = {name: Estimate(value, value / 100, 30, UNITS.get(name, "1")) for name, value in values.items()}
    use = (study.ledger.study(study.name).spec.get("system") or {}).get("use", "")
    system = {"engine": use, **({"version": version} if version else {})}
    found = Measurement(metrics, facts={"system": system, "hardware": hardware})
    study.finish_attempt(trial.number, attempt, found, state=TrialState.COMPLETED)
    return trial


OWN = ("command", "function", "ray_tune", "transformers")
