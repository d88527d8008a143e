"""Servers for GPUs: which parameters of vLLM, SGLang and TensorRT-LLM matter and fit on a machine."""

from __future__ import annotations

import math

from autotune.core.units import counted, format_quantity
from autotune.init.fit import power_above, powers, rounded_up
from autotune.init.machine import GIB
from autotune.init.proposal import Proposal, nothing_fits

_BIG_CARD = 70 * GIB  # from here on vLLM takes larger steps by default
_FP8, _BLACKWELL = 8.9, 10.0  # compute capability of cards with FP8, and with NVFP4, arithmetic
_LEAST_SHARE, _SHARE_STEP = 0.7, 0.02


def narrow_vllm(plan: Proposal) -> None:
    """Narrow vLLM's parameters; its CPU build is a case of its own."""
    plan.offer("vllm")
    if not plan.fit.on_gpu:
        _vllm_on_cpu(plan)
        return
    if len(plan.fit.machine.gpus) > 1:
        plan.offer("sglang", ("data_parallel",))
        plan.offer("moe", ("expert_parallel",))
    _bits(plan, (4, 8, 16))
    _splits(plan, replicas=True)
    _experts(plan)
    default = 1024 if plan.fit.machine.gpu_memory >= _BIG_CARD else 256
    _requests(plan, "max_num_seqs", default)
    tokens = 8192 if plan.fit.machine.gpu_memory >= _BIG_CARD else 2048
    _step_tokens(plan, "max_num_batched_tokens", tokens, 512)
    _above(plan, "max_num_batched_tokens", "max_num_seqs", "refused at start-up otherwise")
    _share(plan, "gpu_memory_utilization")
    _cache_type(plan, ["auto", "fp8"])
    plan.take("performance_mode", "they set what no other flag in this file sets")
    _common_tail(plan)
    plan.leave("async_scheduling", "on by default, and nothing is gained without it")
    plan.leave("enforce_eager", "saves memory and start-up time and makes every token slower")
    plan.leave("pipeline_parallel", "within one node, splitting layers is faster than stages")
    plan.leave("block_size", "moves little next to the others")
    _draft(plan)
    _context(plan, "max_model_len")
    plan.start_s = 60 + plan.fit.card.stored / GIB


def narrow_sglang(plan: Proposal) -> None:
    """Narrow SGLang's parameters."""
    plan.offer("sglang")
    _only_as_stored(plan)
    _splits(plan, replicas=True)
    _requests(plan, "max_running_requests", 256)
    _step_tokens(plan, "chunked_prefill_size", 8192, 1024)
    _share(plan, "mem_fraction_static")
    _cache_type(plan, ["auto", "fp8_e5m2", "fp8_e4m3"])
    plan.take("schedule_conservativeness", "matters as soon as the cache is nearly full")
    plan.take("num_continuous_decode_steps", "throughput of short steps against waiting for the first token")
    plan.take("enable_mixed_chunk", "prompts and answers compete in this load")
    high = min(512, _most(plan))
    if high > 16:
        why = f"no batch is above {high} requests"
        plan.take("cuda_graph_max_bs_decode", why, low=16, high=high, default=min(256, high))
    plan.leave("cuda_graph_max_bs_decode", "all batches of this load have a graph")
    if plan.fit.load.shared:
        plan.take("schedule_policy", f"prompts share {plan.fit.load.shared} tokens: lpm may pay")
        plan.leave("disable_radix_cache", "prompts share a prefix in this load")
    else:
        plan.take("disable_radix_cache", "no prompt of this load shares a prefix: bookkeeping for nothing")
        plan.leave("schedule_policy", "no prompt of this load shares a prefix")
    verified = "tokens verified per step, 0 is off; pays at low load"
    plan.draft({"type": "ordinal"}, verified, values=[0, 2, 4, 8])
    if plan.request.draft_model:
        plan.flags.append(("speculative_algorithm", "STANDALONE", "a draft model of its own"))
    plan.leave("attention_backend", "the server takes the kernels made for the card")
    plan.leave("page_size", "moves little next to the others")
    _context(plan, "context_length")
    plan.start_s = 60 + plan.fit.card.stored / GIB


def narrow_tensorrt_llm(plan: Proposal) -> None:
    """Narrow TensorRT-LLM's parameters."""
    plan.offer("tensorrt_llm")
    _only_as_stored(plan)
    _splits(plan, replicas=False)
    _requests(plan, "max_batch_size", 2048)
    _step_tokens(plan, "max_num_tokens", 8192, 1024)
    _above(plan, "max_num_tokens", "max_batch_size", "refused at start-up otherwise")
    plan.take("free_gpu_memory_fraction", "what the weights leave is all cache; activations need some of it")
    plan.take(
        "enable_chunked_prefill", f"prompts of {plan.fit.load.longest_prompt:,} tokens hold up the others"
    )
    if plan.fit.machine.workers >= 16:
        plan.take("num_postprocess_workers", f"{plan.fit.machine.workers} cores are there for it")
    plan.leave("num_postprocess_workers", "few cores here")
    plan.leave("pipeline_parallel", "within one node, splitting layers is faster than stages")
    _context(plan, "max_seq_len")
    plan.start_s = 90 + plan.fit.card.stored / GIB


def _vllm_on_cpu(plan: Proposal) -> None:
    """Narrow the CPU build: threads and batches, a cache of fixed size."""
    fit = plan.fit
    if not fit.fits(16):
        raise nothing_fits(fit, (16,))
    plan.offer("cpu_inference", ("threads",))
    cores = fit.machine.workers
    plan.take("threads", counted(cores, "core"), values=sorted({*powers(cores), cores}), default=cores)
    _requests(plan, "max_num_seqs", 256)
    _step_tokens(plan, "max_num_batched_tokens", 2048, 512)
    _above(plan, "max_num_batched_tokens", "max_num_seqs", "refused at start-up otherwise")
    space = max(
        1,
        min(
            int(fit.room(16) / GIB),
            rounded_up(plan.request.concurrency * fit.load.longest * fit.per_token(), GIB) // GIB,
        ),
    )
    plan.leave(
        "gpu_memory_utilization, tensor_parallel, pipeline_parallel, enforce_eager, performance_mode",
        "no GPU",
    )
    plan.leave("quantization_bits, kv_cache_dtype", "quantizing while loading is for GPUs")
    plan.leave("async_scheduling, block_size", "move little on processors")
    _draft(plan)
    _common_tail(plan)
    _context(plan, "max_model_len")
    plan.env.append(
        ("VLLM_CPU_KVCACHE_SPACE", str(space), "GiB of the cache: what the requests of this load take")
    )
    plan.start_s = 40 + fit.card.stored / GIB


def _bits(plan: Proposal, offered: tuple[int, ...]) -> None:
    """Decide about bits of the weights that are quantized while they load."""
    fit, capability = plan.fit, plan.fit.machine.capability
    if fit.card.quantization:
        _only_as_stored(plan)
        plan.leave("quantization_bits", f"the checkpoint is quantized already: {fit.card.quantization}")
        return
    if fit.card.experts:
        offered = tuple(bits for bits in offered if bits != 4)
    able = [b for b in offered if b == 16 or capability >= (_FP8 if b == 8 else _BLACKWELL)]
    bits = fit.fitting_bits(able)
    if not bits:
        raise nothing_fits(fit, tuple(able))
    plan.bits = max(bits)
    if bits == (16,):
        why = "4 and 8 bits while loading need a card with FP8 (Ada, Hopper or newer)"
        plan.leave("quantization_bits", why if capability < _FP8 else "16 bits are all that is offered here")
        return
    sizes = ", ".join(f"{format_quantity(fit.weights(b), 'B')} at {b}" for b in sorted(offered))
    why = f"weights take {sizes} bits"
    too_large, unable = set(able) - set(bits), set(offered) - set(able)
    for lost, said in ((too_large, "do not fit"), (unable, "need a Blackwell card")):
        why += f"; {' and '.join(map(str, sorted(lost)))} bits {said}" if lost else ""
    plan.take("quantization_bits", why, values=sorted(bits), default=plan.bits)


def _only_as_stored(plan: Proposal) -> None:
    if not plan.fit.smallest_split(16):
        raise nothing_fits(plan.fit, (16,))


def _splits(plan: Proposal, *, replicas: bool) -> None:
    """Decide about tensor parallelism and replicas: heads must divide, weights must fit."""
    fit, count = plan.fit, len(plan.fit.machine.gpus)
    row = plan.row("quantization_bits")
    bits = list(row.entry["values"]) if row else [plan.bits]
    least = fit.smallest_split(min(bits))
    plan.split = fit.smallest_split(plan.bits)
    plan.resources = {"gpus": "1"}
    if count == 1:
        plan.leave("tensor_parallel, data_parallel", "one GPU")
        return
    values = [size for size in fit.splits() if size >= least]
    heads = f"{fit.card.heads} heads divide by them" if fit.card.heads else "the number of heads is not known"
    fits = f"{least} GPUs at least hold the weights" if least > 1 else "one GPU holds the weights"
    plan.take("tensor_parallel", f"{count} GPUs; {heads}; {fits}", values=values, default=plan.split)
    for number in sorted(bits):
        size = fit.smallest_split(number)
        if size > values[0]:
            weights = format_quantity(fit.weights(number), "B")
            text = f"quantization_bits < {number} or tensor_parallel >= {size}"
            if row:
                plan.constraints.append((text, f"{weights} of weights at {number} bits"))
    if replicas and values[0] * 2 <= count:
        plan.take(
            "data_parallel",
            "the rest of the GPUs as replicas: no communication, all weights on each",
            values=powers(count // values[0]),
            default=1,
        )
        plan.constraints.append((f"tensor_parallel * data_parallel <= {count}", f"{count} GPUs"))
        plan.resources = {"gpus": "tensor_parallel * data_parallel"}
    else:
        plan.leave("data_parallel", "no GPU is left for a replica")
        plan.resources = {"gpus": "tensor_parallel"}


def _experts(plan: Proposal) -> None:
    if plan.fit.card.experts and plan.known("expert_parallel"):
        plan.take("expert_parallel", f"{plan.fit.card.experts} experts in each layer")
    plan.leave("expert_parallel", "a dense model")


def _most(plan: Proposal) -> int:
    """Return the largest number of requests in one step that can matter: what fits, and what ever waits."""
    row = plan.row("quantization_bits")
    least = row.low if row else plan.bits
    fitting = max(8, power_above(plan.fit.requests(least, max(plan.fit.splits())), 1024))
    waiting = plan.request.concurrency
    return min(fitting, max(16, power_above(waiting))) if waiting else max(16, fitting)


def _requests(plan: Proposal, name: str, default: int) -> None:
    """Decide about the requests of one step, by what the cache holds and what the load sends."""
    fit, high = plan.fit, _most(plan)
    known = plan.known(name)
    low = min(int(known["low"]), high // 2)
    room = max(0, fit.room(plan.bits, plan.split))
    each, requests = fit.per_token(), max(0, fit.requests(plan.bits, plan.split))
    cache = (
        f"{format_quantity(room, 'B')} of KV cache at {format_quantity(each, 'B')} a token hold some "
        f"{requests:,} requests of {fit.load.mean:,} tokens"
        if each
        else "the size of the cache is not known"
    )
    sent = f"; {plan.request.concurrency} are under way at once" if plan.request.concurrency else ""
    plan.take(name, cache + sent, low=low, high=high, default=min(default, high))


def _step_tokens(plan: Proposal, name: str, default: int, low: int) -> None:
    """Decide about the tokens of one step, by the prompts and by the memory that a step takes."""
    fit, high = plan.fit, int(plan.known(name)["high"])
    why = f"prompts have {fit.load.longest_prompt:,} tokens at most"
    if fit.on_gpu and fit.machine.gpu_memory < 32 * GIB:
        high, why = min(high, 8192), f"{why}; larger steps need activations that a card of this size lacks"
    if not fit.on_gpu:
        high, why = min(high, 8192), f"{why}; a larger step takes processors seconds"
    plan.take(name, why, low=low, high=high, default=min(default, high))


def _above(plan: Proposal, larger: str, smaller: str, why: str) -> None:
    """Add that one parameter is not below another, where their ranges overlap."""
    first, second = plan.row(larger), plan.row(smaller)
    if first and second and first.low < second.high:
        plan.constraints.append((f"{larger} >= {smaller}", why))


def _share(plan: Proposal, name: str) -> None:
    """Decide about the share of a GPU's memory: below some share the weights alone do not fit."""
    fit = plan.fit
    needed = fit.weights(plan.bits) / plan.split + 2 * GIB + fit.per_token() * fit.load.longest / plan.split
    least = needed / fit.machine.gpu_memory
    known = plan.known(name)
    steps = max(0, math.ceil((least - _LEAST_SHARE) / _SHARE_STEP - 1e-9))
    low = round(min(_LEAST_SHARE + steps * _SHARE_STEP, float(known["high"]) - _SHARE_STEP), 2)
    weights = format_quantity(fit.weights(plan.bits) / plan.split, "B")
    memory = format_quantity(fit.machine.gpu_memory, "B")
    why = f"weights take {weights} of {memory} on each GPU; the rest is cache"
    plan.take(name, why, low=low, default=max(low, float(known["default"])))


def _cache_type(plan: Proposal, values: list[str]) -> None:
    if plan.fit.machine.capability >= _FP8:
        plan.take("kv_cache_dtype", "this card computes with fp8", values=values)
    plan.leave("kv_cache_dtype", "an fp8 cache wants a card with FP8 (Ada, Hopper or newer)")


def _common_tail(plan: Proposal) -> None:
    if plan.fit.load.shared:
        plan.take(
            "enable_prefix_caching",
            f"all prompts of this load begin with {plan.fit.load.shared} equal tokens",
        )
    plan.leave(
        "enable_prefix_caching", "no prompt of this load shares a prefix; add shared_prefix where yours do"
    )


def _draft(plan: Proposal) -> None:
    """Decide about vLLM's drafting: only with a model that drafts."""
    if plan.request.draft_model:
        plan.take("draft_length", f"{plan.request.draft_model} drafts", high=6, default=0)
        plan.leave("draft_method", "the draft model")
    plan.leave(
        "draft_length, draft_method",
        "no --draft-model; n-gram drafts copy from prompts, so they want prompts of your own",
    )


def _context(plan: Proposal, flag: str) -> None:
    """Bound the context to the longest request, rounded up; no longer than the model's own."""
    wanted, context = rounded_up(plan.fit.load.longest + 64, 256), plan.fit.card.context
    length = min(wanted, context) if context else wanted
    plan.flags.append((flag, length, "the longest request of this load; raise it for longer ones"))
