"""What is known: surrogates of goals and limits, the model of failures, and what they say together.

Owns the encoding of configurations, the fit of Gaussian processes, posteriors, samples and predictions.
Imports ``autotune.core``, the engine's configuration and problem; no acquisition function.
"""
