"""Settings that a server replaced are notes: read from its log and from what it tells over HTTP.

The lines are those of real logs: vLLM's `VllmConfig.__str__` (vllm/config/vllm.py), its platforms' choice of
a backend (vllm/platforms/cuda.py) and llama.cpp's llama-context.cpp.
"""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from autotune.core.file_names import CONFIG_NAME
from autotune.core.measurement import Measurement
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.report.summary import notes
from autotune.systems.registry import build_system
from autotune.systems.served.effective import replaced
from autotune.systems.served.launch import Launch
from tests_shared import serving_in_a_thread

VLLM_LOG = """\
INFO 03-20 10:08:20 [utils.py:233] non-default args: {'model': 'm', 'max_num_seqs': 64}
(EngineCore pid=163) INFO 03-20 10:08:25 [core.py:103] Initializing a V1 LLM engine (v0.17.0) with config: \
model='m', speculative_config=None, tokenizer='m', skip_tokenizer_init=False, dtype=torch.bfloat16, \
max_seq_len=40960, download_dir=None, load_format=auto, tensor_parallel_size=2, pipeline_parallel_size=1, \
data_parallel_size=1, disable_custom_all_reduce=False, quantization=fp8, enforce_eager=True, \
kv_cache_dtype=auto, device_config=cuda, structured_outputs_config=StructuredOutputsConfig(backend='auto'), \
seed=0, served_model_name=m, enable_prefix_caching=False, chunked_prefill_enabled=True, pooler_config=None, \
compilation_config={'mode': 0, 'max_cudagraph_capture_size': 0}
(EngineCore pid=163) INFO 03-20 10:08:31 [scheduler.py:231] Chunked prefill is enabled with \
max_num_batched_tokens=8192.
(EngineCore pid=163) INFO 03-20 10:08:32 [cuda.py:317] Using FLASH_ATTN attention backend out of potential \
backends: ['FLASH_ATTN', 'FLASHINFER', 'TRITON_ATTN', 'FLEX_ATTENTION'].
(EngineCore pid=163) INFO 03-20 10:08:32 [x.py:1] Using 'MARLIN' WNA16 MoE backend.
(EngineCore pid=163) INFO 03-20 10:09:00 [kv_cache_utils.py:1] GPU KV cache size: 99,008 tokens
"""
LLAMA_LOG = """\
load_tensors: offloaded 16/33 layers to GPU
llama_context: n_seq_max     = 4
llama_context: n_ctx         = 4096
llama_context: n_ctx_per_seq = 1024
llama_context: n_batch       = 2048
llama_context: n_ubatch      = 512
llama_context: flash_attn    = disabled
"""


class Told(BaseHTTPRequestHandler):
    """Answer as a server does."""

    def do_GET(self):
        self.send(self.server.answers.get(self.path))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send({"choices": [{"text": "a b"}], "usage": {"completion_tokens": 2}})

    def send(self, found):
        body = json.dumps(found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with serving_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Told)) as found:
        yield found


def connect(section, config, log, answers, server, tmp_path):
    """Return the facts of a server that says these things, as an attempt gets them."""
    server.answers = {"/health": {}, "/v1/models": {"data": [{"id": "m", "max_model_len": 32768}]}, **answers}
    Launch(url=f"http://127.0.0.1:{server.server_port}", ours=False).write(tmp_path)
    (tmp_path / "server.log").write_text(log)
    (tmp_path / CONFIG_NAME).write_text(json.dumps({"config": config, "trial": 0, "attempt": 1}))
    return build_system({"model": "m", **section}).connect(tmp_path, time.monotonic() + 30).facts()


def test_settings_that_vllm_changed_are_found_in_what_it_says(server, tmp_path):
    section = {"use": "vllm", "flags": {"enforce_eager": False, "max_model_len": "32k"}}
    config = {"attention_backend": "FLASHINFER", "max_num_batched_tokens": 2048,
              "enable_prefix_caching": True,
              "tensor_parallel": 2, "kv_cache_dtype": "auto", "max_num_seqs": 64}  # fmt: skip
    facts = connect(section, config, VLLM_LOG, {"/version": {"version": "0.17.0"}}, server, tmp_path)
    assert facts["version"] == "0.17.0"
    assert facts["effective"]["attention_backend"] == "FLASH_ATTN"
    assert facts["warnings"] == [
        "enforce_eager was set to false, and the server runs with true",
        "max_model_len was set to 32000, and the server runs with 32768",
        "attention_backend was set to FLASHINFER, and the server runs with FLASH_ATTN",
        "max_num_batched_tokens was set to 2048, and the server runs with 8192",
        "enable_prefix_caching was set to true, and the server runs with false",
    ]
    kept = {"attention_backend": "FLASH_ATTN", "enforce_eager": True, "quantization_bits": 16}
    assert "warnings" not in connect({"use": "vllm"}, kept, VLLM_LOG, {}, server, tmp_path)


@pytest.mark.parametrize(
    ("line", "backend"),
    [
        ("INFO [cuda.py:1] Using Flash Attention backend on V1 engine.", "FLASH_ATTN"),
        ("INFO [cuda.py:1] Using FlashInfer backend on V1 engine.", "FLASHINFER"),
        ("INFO [cuda.py:1] Using AttentionBackendEnum.TRITON_ATTN backend.", "TRITON_ATTN"),
        ("INFO [x.py:1] Using FLASH_ATTN MLA prefill backend.", None),
    ],
)
def test_kernels_of_older_and_newer_logs_of_vllm(line, backend):
    from autotune.systems.vllm import effective_settings

    assert effective_settings(line).get("attention_backend") == backend


def test_settings_that_sglang_changed_are_found_in_what_it_says(server, tmp_path):
    told = {"version": "0.5.23", "tp_size": 2, "attention_backend": "triton", "page_size": 64,
            "mem_fraction_static": 0.8799999999, "disable_radix_cache": False,
            "internal_states": [{}]}  # fmt: skip
    config = {"tensor_parallel": 2, "attention_backend": "fa3", "page_size": 1, "mem_fraction_static": 0.88,
              "disable_radix_cache": False}  # fmt: skip
    facts = connect({"use": "sglang"}, config, "", {"/get_server_info": told}, server, tmp_path)
    assert facts["version"] == "0.5.23"
    assert facts["warnings"] == [
        "attention_backend was set to fa3, and the server runs with triton",
        "page_size was set to 1, and the server runs with 64",
    ]
    automatic = {**config, "attention_backend": "auto", "page_size": 64}
    again = connect({"use": "sglang"}, automatic, "", {"/get_server_info": told}, server, tmp_path)
    assert "warnings" not in again


def test_settings_that_llama_cpp_changed_are_found_in_what_it_says(server, tmp_path):
    config = {"parallel": 8, "ctx_size": 8192, "flash_attn": "on", "ubatch_size": 512, "gpu_layers": 32}
    props = {"/props": {"build_info": "b6000", "total_slots": 4}}
    facts = connect({"use": "llama_cpp", "model": "m.gguf"}, config, LLAMA_LOG, props, server, tmp_path)
    assert (facts["version"], facts["slots"]) == ("b6000", 4)
    assert facts["warnings"] == [
        "parallel was set to 8, and the server runs with 4",
        "ctx_size was set to 8192, and the server runs with 4096",
        "flash_attn was set to on, and the server runs with off",
        "gpu_layers was set to 32, and the server runs with 16",
    ]


def test_a_note_of_the_server_stands_in_the_report():
    facts = {"system": {"warnings": ["page_size was set to 1, and the server runs with 64"]}}
    trial = Trial(3, Suggestion({}, Reason.INITIAL), TrialState.COMPLETED, 1, Measurement({}, facts=facts))
    assert notes([trial]) == ["warning: trial 3: page_size was set to 1, and the server runs with 64"]


def test_what_is_written_in_other_ways_is_the_same():
    assert not replaced({"a": True, "b": "flash-attn", "c": 0.1, "d": "auto", "e": [1]},
                        {"a": "True", "b": "FLASH_ATTN", "c": "0.1", "d": "x", "e": [2]})  # fmt: skip
