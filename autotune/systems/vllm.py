"""vLLM: ``vllm serve``, or ``python -m vllm.entrypoints.openai.api_server`` where the program is a Python.

Beside the server's own flags: ``draft_length`` and ``draft_method`` (``--speculative-config``; 0 is off) and
``quantization_bits`` (16 as the model is, 8 ``fp8_per_tensor``, 4 ``nvfp4_per_token``: both quantize while
they load). On CPUs ``cpu_kvcache_space`` (GiB of the KV cache) and ``cpu_omp_threads_bind`` are the variables
``VLLM_CPU_KVCACHE_SPACE`` and ``VLLM_CPU_OMP_THREADS_BIND``; ``threads`` is ``OMP_NUM_THREADS``, not bound to
cores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from autotune.core.endpoint import count_of
from autotune.core.scalar import typed_scalar
from autotune.core.trial import Config
from autotune.systems.container import Image
from autotune.systems.served.flagged import Settings
from autotune.systems.served.launch import Launch, startup_log
from autotune.systems.served.system import ServedSystem, told

NEEDS_MODEL = ("draft_model", "eagle", "eagle3", "medusa", "mlp_speculator", "dflash", "dspark")
ONLINE = {8: "fp8_per_tensor", 4: "nvfp4_per_token"}
"""Quantization methods that need no prepared checkpoint, by bits."""

_CONFIG_LINE = re.compile(r"Initializing a V\d+ LLM engine \([^)\n]{0,200}\) with config: (.*)")
_SETTING = re.compile(r"(?<!\w)(\w{1,80})=('[^']{0,400}'|[^,(){}\[\]]{1,400})(?:,|$)")
_BATCHED = re.compile(r"Chunked prefill is enabled with max_num_batched_tokens=(\d+)")
_BACKEND = re.compile(
    r"Using (?:AttentionBackendEnum\.(\w+) backend|(\w+) attention backend|"
    r"(Flash Attention|FlashInfer|Triton) backend on V\d)"
)
_CONFIG = {
    "max_seq_len": "max_model_len",
    "chunked_prefill_enabled": "enable_chunked_prefill",
    **{
        name: name
        for name in (
            "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "quantization",
            "enforce_eager", "kv_cache_dtype", "enable_prefix_caching", "load_format",
        )
    },
}  # fmt: skip
"""What the line of the server's start calls the flags (``VllmConfig.__str__``)."""

_BACKENDS = {"flashattention": "FLASH_ATTN", "flashinfer": "FLASHINFER", "triton": "TRITON_ATTN"}
"""Names of attention kernels in older logs, and as the flag writes them."""

_LOGGED = {
    "kv_cache_tokens": r"KV cache size: ([\d,]+) tokens",
    "kv_cache_concurrency": r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x",
    "settings": r"non-default args: (\{.*)",
}
"""What only the log tells."""


def logged(name: str, log: str) -> str | None:
    """Return what the log says first of a name of :data:`_LOGGED`."""
    match = re.search(_LOGGED[name], log)
    if match is None:
        return None
    found = match.group(1)
    if found.startswith("{"):  # up to the last brace of its line, sought once
        head, brace, _ = found.rpartition("}")
        return head + brace or None
    return found


class VLLMSystem(ServedSystem):
    """vLLM as a server."""

    name: ClassVar[str] = "vllm"
    own_program: ClassVar[tuple[str, ...]] = ("vllm", "serve")
    package: ClassVar[str] = "vllm"
    image: ClassVar[Image] = Image(
        "vllm/vllm-openai",
        ("vllm", "serve"),
        "v{version}",
        cpu=("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo", "v{version}", "latest"),
        curl=True,
    )
    asked: ClassVar[Launch] = Launch("", tokenize="/tokenize", prometheus="/metrics")
    exact: ClassVar[dict[str, Any]] = {"ignore_eos": True, "min_tokens": "{max_tokens}"}
    variables: ClassVar[dict[str, str]] = {
        "cpu_kvcache_space": "VLLM_CPU_KVCACHE_SPACE",
        "cpu_omp_threads_bind": "VLLM_CPU_OMP_THREADS_BIND",
        "threads": "OMP_NUM_THREADS",
    }
    env_names: ClassVar[tuple[str, ...]] = ("VLLM_*", "LD_PRELOAD", "TORCHINDUCTOR_*", "TRITON_*")
    lists: ClassVar[str] = " "
    aliases: ClassVar[dict[str, str]] = {
        "tensor_parallel": "tensor_parallel_size",
        "pipeline_parallel": "pipeline_parallel_size",
        "data_parallel": "data_parallel_size",
        "expert_parallel": "enable_expert_parallel",
    }
    translated: ClassVar[tuple[str, ...]] = (
        "draft_length", "draft_method", "prompt_lookup_min", "prompt_lookup_max", "quantization_bits",
    )  # fmt: skip
    gpus: ClassVar[tuple[str, ...]] = ("tensor_parallel", "pipeline_parallel", "data_parallel")

    def start_words(self) -> list[str]:
        """Return the program and the model: a Python names the module and the model by a flag."""
        if not self.runs_python:
            words = list(self.program) if len(self.program) > 1 else [*(self.program or ("vllm",)), "serve"]
            return [*words, self.model]
        module = self.program[1:] or ("-m", "vllm.entrypoints.openai.api_server")
        return [self.program[0], *module, "--model", self.model]

    def environment(self, config: Config) -> dict[str, str]:
        """Return the variables; a number of threads is meant as such, not as cores to be bound to."""
        found = super().environment(config)
        if "threads" in config:
            found.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        return found

    def version(self) -> str:
        """Return the version; the CPU build is a package of its own name."""
        return super().version() or self._cpu_version()

    def _cpu_version(self) -> str:
        return _CPUBuild(self.model, program=self.program).version()

    def server_facts(self, url: str, scratch: Path) -> dict[str, Any]:
        """Return the version that the server tells, and what its log says: KV cache, settings that hold."""
        version = told(url, "/version")
        named = version.get("version") if isinstance(version, Mapping) else None
        found = {"version": named} if isinstance(named, str) else {}
        log = startup_log(scratch)
        told_by_log = {name: logged(name, log) for name in _LOGGED}
        found |= {name: text for name, text in told_by_log.items() if text is not None}
        effective = effective_settings(log)
        models = told(url, "/v1/models")
        listed = models.get("data") if isinstance(models, Mapping) else None
        if isinstance(listed, list) and listed and isinstance(listed[0], Mapping):
            length = count_of(listed[0].get("max_model_len"))
            effective |= {"max_model_len": length} if length is not None else {}
        return {**found, **({"effective": effective} if effective else {})}

    def translate(self, settings: Settings) -> Settings:
        """Write drafting as ``--speculative-config`` and bits as a quantization method."""
        rest = {name: value for name, value in settings.items() if name not in self.translated}
        length = int(settings.get("draft_length", 0))
        if "draft_length" in settings:
            rest.pop("speculative_config", None)  # 0 is off, whatever is fixed
        if length:
            method = str(settings.get("draft_method", "draft_model" if self.draft_model else "ngram"))
            config: dict[str, object] = {"method": method, "num_speculative_tokens": length}
            if method in NEEDS_MODEL:
                config["model"] = self.draft_model
            lookup = ("prompt_lookup_min", "prompt_lookup_max")
            config |= {name: int(settings[name]) for name in lookup if name in settings}
            rest["speculative_config"] = config
        bits = int(settings.get("quantization_bits", 16))
        if bits != 16:
            rest["quantization"] = ONLINE.get(bits, str(bits))
        return rest

    def rules(self, config: Config) -> str:
        """Name combinations that vLLM refuses."""
        bits = int(config.get("quantization_bits", 16))
        if bits not in (16, *ONLINE):
            return f"quantization_bits must be 16, 8 or 4, found {bits}"
        method = str(config.get("draft_method", ""))
        if int(config.get("draft_length", 0)) and method in NEEDS_MODEL and not self.draft_model:
            return f"draft_method {method} needs a draft_model in the system section"
        if int(config.get("prompt_lookup_min", 1)) > int(config.get("prompt_lookup_max", 10**6)):
            return "prompt_lookup_min is above prompt_lookup_max"
        batched, seqs = config.get("max_num_batched_tokens"), config.get("max_num_seqs")
        if isinstance(batched, int) and isinstance(seqs, int) and batched < seqs:
            return f"max_num_batched_tokens {batched} is below max_num_seqs {seqs}"
        return ""


def effective_settings(log: str) -> dict[str, object]:
    """Return the settings that vLLM's log says hold, by the names of its flags."""
    found: dict[str, object] = {}
    if line := _CONFIG_LINE.search(log):
        for name, text in _SETTING.findall(line.group(1)):
            value = typed_scalar(text.strip().strip("'"))
            if name in _CONFIG and value not in (None, "None"):
                found.setdefault(_CONFIG[name], value)
    if batched := _BATCHED.search(log):
        found["max_num_batched_tokens"] = int(batched.group(1))
    if backend := _BACKEND.search(log):
        name = next(filter(None, backend.groups()))
        found["attention_backend"] = _BACKENDS.get(re.sub(r"[ _]", "", name).lower(), name)
    return found


class _CPUBuild(VLLMSystem):
    """vLLM from the package that holds the CPU build."""

    package: ClassVar[str] = "vllm-cpu"

    def _cpu_version(self) -> str:
        return ""
