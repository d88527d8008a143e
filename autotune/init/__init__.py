"""From a model's name to a study file: what this machine, its servers and the model leave worth tuning.

Owns what is asked of the machine and of a model's header, and which parameters of the catalogue follow. May
import ``convert``, ``report``, ``systems``, ``measure``, ``spec`` and ``core``.
"""
