"""Models and acquisition functions of BoTorch by their names."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from botorch.acquisition import acquisition as acquisitions
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model

from autotune.errors import did_you_mean

_MODELS = (
    "botorch.models",
    "botorch.models.map_saas",
    "botorch.models.fully_bayesian",
    "botorch.models.robust_relevance_pursuit_model",
)
_ACQUISITIONS = (
    "botorch.acquisition",
    "botorch.acquisition.multi_objective",
    "botorch.acquisition.max_value_entropy_search",
    "botorch.acquisition.predictive_entropy_search",
    "botorch.acquisition.joint_entropy_search",
)

_UNUSABLE = {
    "MultiFidelity": "a study has one fidelity",
    "MOMF": "a study has one fidelity",
    "MultiTask": "goals and limits are modelled one by one",
    "HigherOrder": "goals and limits are modelled one by one",
    "Abstract": "it is abstract",
    "Approximate": "it has no exact likelihood",
    "Variational": "it has no exact likelihood",
    "HypervolumeKnowledgeGradient": "it chooses a set of configurations at once",
    "qBayesianActiveLearningByDisagreement": "it explores only and looks for no optimum",
    "qNegIntegratedPosteriorVariance": "it explores only and looks for no optimum",
}

MODEL_ARGUMENTS = frozenset({"train_X", "train_Y", "train_Yvar", "cat_dims"})
"""What a model may be made from."""

ACQUISITION_ARGUMENTS = frozenset(
    {
        "model",
        "X_baseline",
        "X_observed",
        "X_pending",
        "best_f",
        "beta",
        "candidate_set",
        "cache_root",
        "num_fantasies",
        "partitioning",
        "prune_baseline",
        "ref_point",
        "sampler",
        "train_inputs",
    }
)
"""What an acquisition function may be made from."""


def model_class(name: str) -> type[Model]:
    """Return a model of one output by its name, ``SingleTaskGP``.

    Raises:
        LookupError: There is no such model, or it needs what a study does not have.
    """
    return _found(name, _MODELS, Model, MODEL_ARGUMENTS, "model")


def acquisition_class(name: str) -> type[acquisitions.AcquisitionFunction]:
    """Return an acquisition function by its name, ``qLogNoisyExpectedImprovement``.

    Raises:
        LookupError: There is no such function, or it needs what a study does not have.
    """
    kind = acquisitions.AcquisitionFunction
    return _found(name, _ACQUISITIONS, kind, ACQUISITION_ARGUMENTS, "acquisition function")


def accepted(kind: type[object], values: dict[str, object]) -> dict[str, Any]:
    """Return those of some arguments that a class takes."""
    taken = _parameters(kind)
    return {name: value for name, value in values.items() if name in taken}


def _found(
    name: str, modules: tuple[str, ...], base: type[object], known: frozenset[str], noun: str
) -> type[Any]:
    loaded = [import_module(module) for module in modules]
    public = {each: getattr(module, each) for module in loaded for each in dir(module) if each[0] != "_"}
    named = {each: kind for each, kind in public.items() if inspect.isclass(kind) and issubclass(kind, base)}
    usable = {each: kind for each, kind in named.items() if not _missing(kind, known)}
    if name in usable:
        return usable[name]
    if name in named:
        missing = ", ".join(sorted(_missing(named[name], known)) or ["it is abstract"])
        raise LookupError(f"BoTorch's {name} cannot be made for a study: {missing}")
    hint = did_you_mean(name, sorted(usable))
    allowed = ", ".join(sorted(usable))
    raise LookupError(f"BoTorch has no {noun} {name!r}{f'; {hint}' if hint else ''}; it has {allowed}")


def _missing(kind: type[object], known: frozenset[str]) -> set[str]:
    """Return the arguments that a class needs and a study cannot give."""
    if inspect.isabstract(kind) or issubclass(kind, PosteriorTransform):
        return {"it is abstract"}
    reasons = {reason for word, reason in _UNUSABLE.items() if word in kind.__name__}
    if reasons:
        return reasons
    parameters = _parameters(kind).values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = {p.name for p in parameters if p.kind in plain and p.default is inspect.Parameter.empty}
    if not {"model", "train_X"} & {p.name for p in parameters}:
        return {"it is made from other functions"}
    return {f"it needs {name!r}" for name in needed - known}


def _parameters(kind: type[object]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class's own ``__init__``; its metaclass hides them from its signature."""
    return dict(list(inspect.signature(kind.__init__).parameters.items())[1:])
