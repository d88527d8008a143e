"""Systems that need no GPU: llama.cpp, OpenVINO, Ollama, transformers; and those that are planned only."""

from __future__ import annotations

from autotune.core.units import counted, format_quantity
from autotune.init.fit import power_above, power_below, powers, rounded_up
from autotune.init.model import SAFETENSORS
from autotune.init.proposal import Proposal, nothing_fits
from autotune.systems.served.tiny import TINY

_SLOT = 256  # tokens to which a slot's context is rounded up
_TINY_FILES = ["Q8_0", "F16"]
_DRAFTED = "tokens drafted per step, 0 is off; pays while few requests run"


def narrow_llama_cpp(plan: Proposal) -> None:
    """Narrow llama-server's parameters."""
    fit = plan.fit
    _must_fit(plan, 16)
    plan.offer("llama_cpp")
    plan.offer("cpu_inference", ("threads_batch", "numa", "repack", "poll"))
    _files(plan)
    parallel = _slots(plan)
    slot = _slot_tokens(plan)
    plan.take(
        "parallel",
        f"slots of {slot:,} tokens each, {format_quantity(slot * fit.per_token(), 'B')} of cache",
        values=powers(parallel),
        default=1,
    )
    plan.derived.append(
        ("ctx_size", f"parallel * {slot}", "context of all slots: each holds the longest request")
    )
    plan.leave("ctx_size", "follows from parallel, see derived")
    if fit.on_gpu:
        plan.leave("threads", "the GPU computes")
    else:
        _threads(plan, "threads", "generation reads all weights for each token: memory is slower than cores")
    if not fit.on_gpu and fit.machine.workers > 1:
        _threads(plan, "threads_batch", "prompts are arithmetic: they gain from cores longest")
        if plan.row("threads_batch"):
            plan.constraints.append(("threads <= threads_batch", "prompts never need fewer"))
    plan.leave("threads_batch", "one core" if not fit.on_gpu else "prompts are computed on the GPU")
    prompt = power_above(fit.load.longest_prompt, 4096)
    high = max(512, min(2048, prompt))
    plan.take(
        "ubatch_size",
        f"prompts have {fit.load.longest_prompt:,} tokens at most",
        high=high,
        default=min(512, high),
    )
    plan.take("batch_size", "prompt tokens of all slots in one go", low=512, high=4096, default=2048)
    if high > 512:
        plan.constraints.append(("ubatch_size <= batch_size", "refused otherwise"))
    _llama_cache(plan)
    _llama_gpu(plan)
    if fit.machine.numa_nodes > 1 and not fit.on_gpu:
        plan.take("numa", f"{fit.machine.numa_nodes} memory nodes")
    plan.leave("numa", "one memory node" if not fit.on_gpu else "the model is on the GPU")
    plan.leave("load_mode, repack, poll", "start-up and waiting, not speed under load")
    plan.leave("cache_ram", "no prompt of this load returns")
    plan.leave("cont_batching", "on by default, and needed by more than one slot")
    plan.draft({"type": "int", "low": 0}, _DRAFTED, high=6)
    plan.start_s = 3 + fit.card.stored / 1e9


def _llama_cache(plan: Proposal) -> None:
    """Decide about the type of the cache: only where it is large is there something to gain."""
    fit = plan.fit
    requests = plan.request.concurrency or 16
    whole = requests * fit.load.mean * fit.per_token()
    if whole * 4 > fit.weights():
        why = f"the cache of {requests} requests takes {format_quantity(whole, 'B')}"
        plan.take("cache_type_k", why, values=["q8_0", "f16"], default="f16")
        why = "as the keys; a quantized type needs flash_attn"
        plan.take("cache_type_v", why, values=["q8_0", "f16"], default="f16")
        plan.constraints.append(("cache_type_v == 'f16' or flash_attn != 'off'", "refused otherwise"))
    why = "slower than the plain one on some processors"
    plan.take("flash_attn", why, values=["on", "off"], default="on")
    plan.leave("cache_type_k, cache_type_v", "the cache is small next to the weights")


def _llama_gpu(plan: Proposal) -> None:
    """Decide about the layers on the GPU: all where they fit, else as many as may."""
    fit, layers = plan.fit, plan.fit.card.layers
    if not fit.machine.gpus:
        plan.leave("gpu_layers", "no GPU")
        plan.flags.append(("gpu_layers", 0, "no GPU"))
        return
    if fit.on_gpu:
        plan.leave("gpu_layers", "all of them fit on the GPU, which is faster than any part of them")
        plan.flags.append(("gpu_layers", layers + 1, "all layers and the output"))
        return
    usable = int(0.9 * fit.machine.gpu_memory)
    most = max(1, min(layers, int(layers * usable / max(1, fit.weights()))))
    plan.take(
        "gpu_layers",
        f"the GPU holds some {most} of {layers} layers",
        low=0,
        high=rounded_up(most, 4),
        multiple_of=4,
        default=most // 4 * 4,
    )


def narrow_openvino(plan: Proposal) -> None:
    """Narrow OpenVINO's parameters: those of the pipeline in a Python, or of ``ovms``."""
    fit = plan.fit
    _must_fit(plan, 16)
    plan.offer("openvino")
    if plan.installed.runs_python:
        _files(plan)
    elif fit.card.form == SAFETENSORS and not fit.card.quantization:
        plan.offer("quantization", ("weight_format",))
        sizes = ", ".join(f"{format_quantity(fit.weights(b), 'B')} at {b} bits" for b in (4, 8, 16))
        plan.take("weight_format", f"weights take {sizes}")
    requests = power_below(min(fit.requests(16), 4 * max(4, plan.request.concurrency)), 8, 256)
    plan.take(
        "dynamic_split_fuse", f"prompts of {fit.load.longest_prompt:,} tokens hold up the answers of others"
    )
    plan.take(
        "max_num_batched_tokens",
        "larger steps start answers sooner, smaller ones keep them even",
        low=64,
        high=4096,
        default=256,
        when="dynamic_split_fuse == true",
    )
    plan.take(
        "max_num_seqs",
        _under_way(plan),
        low=min(4, requests // 2),
        high=requests,
        default=requests,
    )
    plan.take(
        "kv_cache_precision",
        f"{format_quantity(fit.per_token(), 'B')} a token at 16 bits",
        values=["u8", "f16"],
        default="u8",
    )
    _threads(plan, "threads", "memory bandwidth ends before cores do")
    plan.take(
        "num_streams",
        f"small models gain, {counted(fit.machine.workers, 'core')}",
        values=[n for n in (1, 2, 4) if n <= fit.machine.workers],
    )
    if fit.machine.cores > fit.machine.physical:
        plan.take("enable_hyper_threading", f"{fit.machine.cores} threads on {fit.machine.physical} cores")
    if fit.load.shared:
        plan.take("enable_prefix_caching", f"all prompts begin with {fit.load.shared} equal tokens")
    plan.take("dynamic_quantization_group_size", "activations at 8 bits: speed against exactness")
    if plan.installed.runs_python:
        plan.draft({"type": "int", "low": 0}, _DRAFTED, high=6)
    plan.leave("enable_hyper_threading", "no second threads on these cores")
    plan.leave("enable_prefix_caching", "no prompt of this load shares a prefix")
    plan.leave("cache_size", "grows as needed, and there is room")
    plan.leave("performance_hint", "presets of threads and num_streams, which are searched themselves")
    plan.leave("enable_cpu_pinning", "on by default; others that share the machine are not for a search")
    plan.start_s = 8 + fit.card.stored / 5e8


def narrow_ollama(plan: Proposal) -> None:
    """Narrow Ollama's variables."""
    fit = plan.fit
    _must_fit(plan, 16)
    plan.offer("ollama")
    plan.take("num_parallel", _under_way(plan), values=powers(_slots(plan)), default=1)
    plan.take("flash_attention", "less memory; needed by a quantized cache")
    plan.take("kv_cache_type", f"{format_quantity(fit.per_token(), 'B')} a token at 16 bits")
    plan.constraints.append(("kv_cache_type == 'f16' or flash_attention", "ignored otherwise"))
    length = rounded_up(fit.load.longest, 1024)
    plan.take("context_length", "the longest request of this load", values=[length], default=length)
    if len(fit.machine.gpus) > 1:
        plan.take("sched_spread", f"{len(fit.machine.gpus)} GPUs")
    plan.leave("sched_spread", "no second GPU")
    plan.leave("max_queue", "nothing is refused in this load")
    plan.start_s = 5 + fit.card.stored / 1e9


def narrow_transformers(plan: Proposal) -> None:
    """Narrow the parameters of transformers in a process of its own."""
    fit = plan.fit
    plan.offer("transformers")
    cores = fit.machine.workers
    offered = (4, 8, 16) if fit.machine.compiler or fit.on_gpu else (8, 16)
    bits = [b for b in offered if fit.fits(b)] if not fit.card.quantization else []
    if not bits and not (fit.card.quantization and fit.fits(16)):
        raise nothing_fits(fit, offered)
    plan.bits = max(bits, default=16)
    if len(bits) > 1:
        sizes = ", ".join(f"{format_quantity(fit.weights(b), 'B')} at {b}" for b in offered)
        why = f"weights take {sizes} bits"
        why += "" if 4 in offered else "; 4 bits need a C++ compiler"
        plan.take("quantization_bits", why, values=bits, default=plan.bits)
    plan.leave("quantization_bits", f"the checkpoint has {fit.card.quantization or 'few bits'} as it is")
    each = fit.per_token() * fit.load.longest
    most = power_below(max(1, fit.room(min(bits, default=16)) // max(1, each)), 1, 64)
    plan.take(
        "batch_size",
        f"{format_quantity(each, 'B')} of cache for each of the longest requests",
        high=most,
        default=1,
    )
    row = plan.row("quantization_bits")
    splits = [
        n
        for n in (1, 2, 4)
        if _divides(plan, n) and n <= ((fit.machine.gpus and len(fit.machine.gpus)) or cores)
    ]
    if len(splits) > 1:
        where = f"{len(fit.machine.gpus)} GPUs" if fit.on_gpu else counted(cores, "core")
        plan.take(
            "tensor_parallel", f"{where}; {fit.card.heads} heads divide by them", values=splits, default=1
        )
        if row and 4 in row.entry["values"]:
            plan.constraints.append(
                ("tensor_parallel == 1 or quantization_bits > 4", "packed 4 bits cannot be split")
            )
    plan.leave("tensor_parallel", "nothing to split over, or heads that do not divide")
    if not fit.on_gpu:
        _threads(plan, "threads", "only arithmetic gains; memory is slower than cores")
        if plan.row("tensor_parallel") and plan.row("threads"):
            plan.constraints.append((f"tensor_parallel * threads <= {cores}", "no more threads than cores"))
    plan.leave("threads", "the GPU computes")
    _draft(plan)
    plan.start_s = 8 + fit.card.stored / 5e8


def _draft(plan: Proposal) -> None:
    """Decide about drafting: only with a model that drafts, and for one sequence at a time."""
    if plan.request.draft_model or plan.fit.card.model == TINY:
        plan.take("draft_length", "a small model drafts", high=6, default=0)
        row = plan.row("batch_size")
        if row and row.high > 1:
            plan.constraints.append(
                ("draft_length == 0 or batch_size == 1", "it drafts for one sequence at a time")
            )
    plan.leave("draft_length", "no --draft-model")


def _divides(plan: Proposal, size: int) -> bool:
    card = plan.fit.card
    return size == 1 or bool(card.heads and card.heads % size == 0 and card.kv_heads % size == 0)


def narrow_planned(plan: Proposal) -> None:
    """Narrow what is planned only: ONNX Runtime and Triton."""
    cores = plan.fit.machine.workers
    name = plan.installed.system
    plan.offer(name)
    for parameter in plan.undecided:
        values = plan.known(parameter).get("values")
        if parameter.endswith("num_threads") and values:
            kept = [value for value in values if value <= cores]
            plan.take(parameter, f"{counted(cores, 'core')}", values=kept)
        elif parameter == "optimization_cuda_graphs" and not plan.fit.machine.gpus:
            plan.leave(parameter, "no GPU")
        else:
            plan.take(parameter, "as in the catalogue")
    if name == "triton":
        plan.constraints.append(
            ("dynamic_batching == false or max_batch_size > 1", "nothing to gather otherwise")
        )


def _must_fit(plan: Proposal, bits: int) -> None:
    """Refuse a model that memory does not hold; one that does not fit the GPU may lie in both."""
    fit = plan.fit
    smallest = min((size for _, size in fit.card.choices), default=fit.weights(bits))
    room = fit.room(bits) + fit.weights(bits) - smallest
    if room < fit.per_token() * fit.load.longest:
        raise nothing_fits(fit, (bits,))


def _files(plan: Proposal) -> None:
    """Search over the files that hold the same model with other bits, where there are several that fit."""
    fit = plan.fit
    whole = fit.room(16) + fit.weights(16) - fit.per_token() * fit.load.longest
    tags = [tag for tag, size in fit.card.choices if size <= whole]
    sizes = ", ".join(f"{tag} {format_quantity(size, 'B')}" for tag, size in fit.card.choices if tag in tags)
    why, chosen = f"files beside the one you named: {sizes}", fit.card.choice
    if fit.card.model == TINY:
        tags, why, chosen = _TINY_FILES, "both are made on this machine", _TINY_FILES[-1]
    if tags:
        trades = "bits of the weights, a file each; memory and speed against quality"
        plan.add("model_quantization", type="ordinal", memory="up", description=trades)
        default = chosen if chosen in tags else tags[-1]
        plan.take("model_quantization", why, values=tags, default=default)


def _under_way(plan: Proposal) -> str:
    """Return how many requests the load sends, as a reason."""
    count = plan.request.concurrency
    return f"{count} requests are under way at once" if count else "as many requests come as the limits allow"


def _slots(plan: Proposal) -> int:
    """Return the most slots that can matter: what memory holds, and what ever waits."""
    waiting = power_above(plan.request.concurrency or 16)
    each = max(1, _slot_tokens(plan) * plan.fit.per_token())
    return max(1, min(waiting, 32, power_below(plan.fit.room(16) / each)))


def _slot_tokens(plan: Proposal) -> int:
    wanted = rounded_up(plan.fit.load.longest + 16, _SLOT)
    context = plan.fit.card.context
    return min(wanted, context) if context else wanted


def _threads(plan: Proposal, name: str, why: str) -> None:
    """Decide about threads: powers of two up to the cores, and all of them."""
    cores = plan.fit.machine.workers
    if cores == 1:
        plan.leave(name, "one core")
        return
    values = sorted({*powers(cores), cores})
    plan.take(name, f"{counted(cores, 'core')}; {why}", values=values, default=cores)
