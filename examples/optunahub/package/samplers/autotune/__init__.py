"""The sampler as OptunaHub loads it: ``optunahub.load_module("samplers/autotune")``."""

from autotune.integrations.optuna import AutotuneSampler, suggest

__all__ = ["AutotuneSampler", "suggest"]
