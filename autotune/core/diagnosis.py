"""What programs say when they fail, and whose fault that is: one table, whose every example is a test.

A rule is one kind of message. :data:`LIBRARIES` are messages of any program, since the libraries below it
write them; :data:`SERVERS` mean this in a server alone: a ``ValueError`` of one that starts refuses
its flags, one of somebody's program is a crash. Words that no rule knows are an unexplained crash.

What tells no cause is a :class:`Reading`, with an example that is a test as well: how much memory was missing
(:mod:`autotune.systems.shortfall`), which lines only say where or that something is wrong
(:mod:`autotune.systems.diagnosis`), which answers are about a field that a server does not know
(:mod:`autotune.systems.served.negotiation`).

:data:`OWNER_SIGNS` are read in the message of a failure, not in a log: no configuration is to blame for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from autotune.core.measurement import Cause


@dataclass(frozen=True)
class Rule:
    """A kind of message and the cause that it tells.

    Runs in a pattern are bounded where what they follow may come again and again: a line is then read in time
    that grows with its length alone.

    Args:
        cause: Cause of a failure with such a message.
        pattern: Regular expression that is found in one line of the message.
        example: A message as a program writes it.
        meaning: Words in front of the line for a reader; empty where it speaks for itself.
    """

    cause: Cause
    pattern: str
    example: str
    meaning: str = ""


@dataclass(frozen=True)
class Reading:
    """A kind of message of which something is read that is no cause.

    Args:
        pattern: Regular expression, bounded as that of a :class:`Rule`.
        example: A message as a program writes it.
    """

    pattern: str
    example: str


def matcher(rules: Iterable[Rule | Reading]) -> re.Pattern[str]:
    """Return a pattern that is found wherever that of one of the rules is."""
    return re.compile("|".join(rule.pattern for rule in rules), re.MULTILINE)


_NO_MODEL, _NO_SERVER = "the model cannot be read", "the server cannot be run here"

_MEMORY, _DISK, _PORT = Cause.OUT_OF_MEMORY, Cause.DISK_FULL, Cause.PORT_TAKEN
_OWNER, _FLAGS = Cause.OWNER_MISTAKE, Cause.REJECTED_FLAGS
# fmt: off
LIBRARIES: tuple[Rule, ...] = (
    Rule(_DISK, r"No space left on device", "OSError: [Errno 28] No space left on device"),
    Rule(_MEMORY, r"\b(?:_Array)?MemoryError\b", "MemoryError: needs 9 GiB"),
    Rule(_MEMORY, r"OutOfMemoryError",
         "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
    Rule(_MEMORY, r"\b(?:CUDA|Cuda|HIP|XPU|NPU|MPS)\b.{0,40}\bout of memory",
         "RuntimeError: CUDA error: out of memory"),
    Rule(_MEMORY, r"Failed to allocate memory for requested buffer of size",
         "[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 4096"),
    Rule(_MEMORY, r"std::bad_alloc", "terminate called after throwing an instance of 'std::bad_alloc'"),
    Rule(_MEMORY, r"[Cc]annot allocate memory", "OSError: [Errno 12] Cannot allocate memory"),
    Rule(_MEMORY, r"DefaultCPUAllocator: (?:can't allocate|not enough) memory",
         "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    Rule(_MEMORY, r"CUBLAS_STATUS_ALLOC_FAILED",
         "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    Rule(_MEMORY, r"CUDA_ERROR_OUT_OF_MEMORY", "cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY"),
    Rule(_MEMORY, r"RESOURCE_EXHAUSTED: Out of memory",
         "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes."),
    Rule(_MEMORY, r"OpenBLAS error: Memory allocation still failed",
         "OpenBLAS error: Memory allocation still failed after 10 retries, giving up."),
    # a thread's stack, or the memory of generated code, under a limit: libgomp, OpenBLAS, oneDNN
    Rule(_MEMORY, r"libgomp: Thread creation failed",
         "libgomp: Thread creation failed: Resource temporarily unavailable"),
    Rule(_MEMORY, r"blas_thread_init: pthread_create failed",
         "OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 2"),
    Rule(_MEMORY, r"could not create a primitive$", "RuntimeError: could not create a primitive"),
    Rule(_MEMORY, r"autotune: the kernel ended a process for want of memory",
         "autotune: the kernel ended a process for want of memory"),
)
"""Messages of libraries that most programs are built on."""

NO_MEMORY = matcher(rule for rule in LIBRARIES if rule.cause is Cause.OUT_OF_MEMORY)
"""What any program says when memory ran out."""

SERVERS: tuple[Rule, ...] = (
    Rule(_PORT, r"[Aa]ddress already in use|\[?[Ee]rrno 98\]?",
         "OSError: [Errno 98] error while attempting to bind on address: address already in use"),
    Rule(_PORT, r"couldn't bind (?:HTTP )?(?:server )?socket",
         "couldn't bind HTTP server socket, port: 8000"),
    Rule(_PORT, r"port \d+ is (?:already )?(?:in use|not available|occupied)",
         "AssertionError: port 30000 is not available"),
    Rule(_DISK, r"No space left on", "write failed: No space left on the disk"),
    Rule(_MEMORY, r"out of memory",
         "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"),
    Rule(_MEMORY, r"ErrorOut[oO]f\w{0,40}Memory", "vk::Device::allocateMemory: ErrorOutOfDeviceMemory"),
    Rule(_MEMORY, r"No available memory for the cache blocks",
         "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"),
    Rule(_MEMORY, r"larger than the (?:maximum number of tokens|available KV)",
         "ValueError: The model's max seq len (8192) is larger than the maximum number of tokens that fit"),
    Rule(_MEMORY, r"KV cache is needed, which is larger",
         "ValueError: 4.00 GiB KV cache is needed, which is larger than the available KV cache memory"),
    Rule(_MEMORY, r"[Mm]emory on (?:device|node) .{0,400} is less than",
         "ValueError: Available memory on node 0 (10.9/14.21 GiB) is less than requested memory for kv"),
    Rule(_MEMORY, r"failed to allocate (?:\w{1,40} )?(?:buffer|memory|compute|CPU|KV)",
         "llama_kv: failed to allocate buffer for kv cache"),
    Rule(_MEMORY, r"unable to allocate", "error: unable to allocate CUDA0 buffer"),
    Rule(_MEMORY, r"insufficient memory", "error:insufficient memory (code = 8)"),
    Rule(_MEMORY, r"[Nn]ot enough memory",
         "RuntimeError: Not enough memory. Please try to increase --mem-fraction"),
    Rule(_MEMORY, r"(?:exceeds|larger than) (?:the )?available (?:system )?memory",
         "ValueError: the requested cache exceeds available memory"),
    Rule(_MEMORY, r"requires more system memory",
         "Error: model requires more system memory (9 GiB) than is available"),
    Rule(_MEMORY, r"Failed to allocate|Can not allocate",
         "Check 'p' failed: Can not allocate 1073741824 bytes"),
    Rule(_MEMORY, r"alloc_tensor_range: failed", "ggml_gallocr_alloc_tensor_range: failed to allocate"),
    Rule(_OWNER, r"is not a local folder and is not a valid model identifier",
         "OSError: x/y is not a local folder and is not a valid model identifier listed on the hub",
         _NO_MODEL),
    Rule(_OWNER, r"Repository Not Found|RepositoryNotFound",
         "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error.", _NO_MODEL),
    Rule(_OWNER, r"couldn't connect to .{0,400}huggingface",
         "OSError: We couldn't connect to 'https://huggingface.co' to load the files", _NO_MODEL),
    Rule(_OWNER, r"Cannot find (?:an appropriate cached snapshot|the requested files)",
         "LocalEntryNotFoundError: Cannot find the requested files in the disk cache", _NO_MODEL),
    Rule(_OWNER,
         r"failed to open GGUF file|\[load_gguf\] Failed to open|No such file or directory.{0,400}\.gguf",
         "[load_gguf] Failed to open '/models/none.gguf'", _NO_MODEL),
    Rule(_OWNER, r"Model path does not exist",
         "ValueError: Model path does not exist: /models/none", _NO_MODEL),
    Rule(_OWNER, r"Invalid repository ID or local directory|HFValidationError",
         "ValueError: Invalid repository ID or local directory specified: '/models/none'", _NO_MODEL),
    Rule(_OWNER, r"model '[^']{0,400}' not found", "Error: model 'qwen3:none' not found", _NO_MODEL),
    Rule(_OWNER, r"does not appear to have a file named config\.json",
         "OSError: /models/none does not appear to have a file named config.json.", _NO_MODEL),
    Rule(_OWNER, r"Could not find a model in the directory",
         "RuntimeError: Could not find a model in the directory '/models/none'", _NO_MODEL),
    Rule(_OWNER, r"No module named '?(?!autotune)\w|ModuleNotFoundError",
         "ModuleNotFoundError: No module named 'vllm'", _NO_SERVER),
    Rule(_OWNER, r"command not found", "bash: vllm: command not found", _NO_SERVER),
    Rule(_OWNER, r"error while loading shared libraries|cannot open shared object file",
         "llama-server: error while loading shared libraries: libggml.so: cannot open shared object file",
         _NO_SERVER),
    Rule(_OWNER, r"Missing dependencies for|You can install it with",
         "ImportError: Missing dependencies for the server. You can install it with pip", _NO_SERVER),
    Rule(_OWNER, r"CUDA driver version is insufficient|libcuda\.so",
         "RuntimeError: CUDA driver version is insufficient for CUDA runtime version", _NO_SERVER),
    Rule(_FLAGS, r"error: (?:unrecognized arguments|argument |ambiguous option|the following arguments)",
         "vllm: error: unrecognized arguments: --enable-none"),
    Rule(_FLAGS, r"error: invalid argument|error while handling argument", "error: invalid argument: --none"),
    Rule(_FLAGS, r"No such option|Unknown option|unknown (?:flag|argument|option)",
         "Error: No such option: --none"),
    Rule(_FLAGS, r"Invalid value for", "Error: Invalid value for '--port': 'x' is not a valid integer."),
    Rule(_FLAGS, r"Input should be|Value error, ",
         "  Value error, max_model_len (9000) is greater than 8192"),
    Rule(_FLAGS, r"[Nn]ot supported|unsupported|does not support",
         "AssertionError: FP8 KV cache is not supported with this backend"),
    Rule(_FLAGS, r"must be divisible", "AssertionError: 14 attention heads must be divisible by the 4 ranks"),
    Rule(_FLAGS, r"is incompatible", "AssertionError: --enable-a is incompatible with --b"),
    Rule(_FLAGS, r"[Ii]nvalid value|[Ww]rong value",
         "RuntimeError: Wrong value FASTEST for property CACHE_MODE"),
    Rule(_FLAGS, r"\b(?:ValueError|NotImplementedError|ValidationError)\b",
         "ValueError: no tp_plan for this model"),
    Rule(_FLAGS, r"llama_\w{1,60}: .{0,400}(?:requires|failed to|invalid|must)",
         "llama_init_from_model: V cache quantization requires flash_attn"),
)
"""Messages of servers before they are ready."""

CODE_SIGNS: tuple[Rule, ...] = (
    # mistakes in a program's text, as Python reports them; values raise other errors
    Rule(_OWNER, r"(?:^|: )(?:Name|UnboundLocal|Attribute|Key|Type)Error\b", "KeyError: 'btach'"),
    Rule(_OWNER, r"(?:^|: )(?:Import|ModuleNotFound)Error\b", "ended with 1: ImportError: no name 'x'"),
    Rule(_OWNER, r"(?:^|: )(?:Syntax|Indentation|Tab)Error\b", "SyntaxError: invalid syntax"),
)
"""A program's text is wrong."""

USAGE_SIGNS: tuple[Rule, ...] = (
    Rule(_OWNER, r"unrecognized arguments|the following arguments are required",
         "bench.py: error: unrecognized arguments: --batch 4"),
    Rule(_OWNER, r"can't open file|cannot open ", "python: can't open file 'bench.py': [Errno 2]"),
    Rule(_OWNER, r"[Nn]o such option|[Uu]nknown (?:flag|argument|option)|is no flag|unknown command",
         "Error: No such option: --batch"),
)
"""A program was called wrongly."""

METRIC_SIGNS: tuple[Rule, ...] = (
    Rule(_OWNER, r"no JSON object of metrics|the object of metrics is empty|wrote no metrics",
         "the output has no JSON object of metrics; it ends with 'done'"),
    Rule(_OWNER, r"the result lacks", "the result lacks the goal 'speed'; reported: sped"),
    Rule(_OWNER, r"must be a number, found|metric's name must be|the metrics cannot be read|"
         r"an estimate needs|is not two samples", "metric 'speed' must be a number, found '4'"),
)
"""A result has not the form of one."""

ABSENT_SIGNS: tuple[Rule, ...] = (
    Rule(_OWNER, r"the (?:server|engine) cannot be run here|ModuleNotFoundError|No module named",
         f"{_NO_SERVER}: No module named 'vllm'"),
    Rule(_OWNER, _NO_MODEL, f"{_NO_MODEL}: [load_gguf] Failed to open '/models/none.gguf'"),
    Rule(_OWNER, r"^cannot start|no program", "cannot start ./bench: [Errno 2]"),
    Rule(_OWNER, r"needs [\d.]+ GPUs|needs '", "it needs 8 GPUs, the largest node has 2"),
    Rule(_OWNER, r"[Nn]o such file or folder|no such folder", "/models/none: no such file or folder"),
    Rule(_OWNER, r"of the plug-in .* failed: ", "system 'x' of the plug-in x 1: x:X failed: ValueError: no"),
    # a server that is not there, or lets nobody in
    Rule(_OWNER, r"^not ready after", "not ready after 600 s: connection refused"),
    Rule(_OWNER, r"^no request was answered: (?:https?://\S+: )?HTTP",
         "no request was answered: HTTP 302: see /login"),
    Rule(_OWNER, r"requests failed, at most \S+ may; first: https?://\S+: HTTP 3",
         "18 of 20 requests failed, at most 0.1% may; first: http://h:1/v1/completions: HTTP 308: moved"),
    Rule(_OWNER, r"^(?:quality check: )?https?://\S+(?:: | refuses requests)",
         "quality check: http://127.0.0.1:8000 refuses requests: 401"),
)
"""The machine lacks something: an error of the environment."""
# fmt: on
NO_AUTOTUNE: tuple[Rule, ...] = (
    Rule(
        _OWNER,
        r"^(?:\S*python[\d.]*: .*|ModuleNotFoundError: )?No module named '?autotune\b",
        "/usr/bin/python: No module named autotune",
    ),
    Rule(
        _OWNER,
        r"^\S*sh: (?:\S+(?: \d+)?: )*python3?: (?:command )?not found",
        "/bin/sh: 1: python: not found",
    ),
)
"""What a Python says that has no autotune, or a shell that has no Python, at the beginning of a line: within
one it is a study that tells what its own program said."""

OWNER_SIGNS = (*CODE_SIGNS, *USAGE_SIGNS, *METRIC_SIGNS, *ABSENT_SIGNS)
"""Messages that no configuration is to blame for."""
