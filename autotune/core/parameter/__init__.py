"""Parameters: what may vary, over which values and on which scale."""

from autotune.core.parameter.base import Parameter, Prior
from autotune.core.parameter.build import PARAMETER_TYPES, parameter_from_dict
from autotune.core.parameter.listed import Bool, Categorical, Ordinal
from autotune.core.parameter.numeric import Float, Int

__all__ = [
    "PARAMETER_TYPES",
    "Bool",
    "Categorical",
    "Float",
    "Int",
    "Ordinal",
    "Parameter",
    "Prior",
    "parameter_from_dict",
]
