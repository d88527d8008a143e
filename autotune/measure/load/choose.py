"""The load generator that a workload names."""

from __future__ import annotations

from autotune.measure.load.aiperf import AIPerf
from autotune.measure.load.base import LoadGenerator
from autotune.measure.load.generator import OwnGenerator
from autotune.measure.load.guidellm import GuideLLM
from autotune.measure.load.tool import Tool, ToolGenerator


def build_generator(name: str, salt: str = "") -> LoadGenerator:
    """Return a load generator.

    Args:
        name: One of :data:`autotune.measure.workload.GENERATORS`.
        salt: Salt of our own generator, see :class:`OwnGenerator`.

    Raises:
        EnvironmentProblem: It is a tool that is not installed.
    """
    tools: dict[str, type[Tool]] = {"guidellm": GuideLLM, "aiperf": AIPerf}
    return OwnGenerator(salt=salt) if name == "own" else ToolGenerator(tools[name]())
