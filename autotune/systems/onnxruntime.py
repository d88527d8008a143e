"""ONNX Runtime: session options, run by ``onnxruntime_perf_test``.

ONNX Runtime has no server that generates, so it is planned and not measured: ``autotune check`` checks the
configurations and prints the commands; a program of your own over it is measured by the system ``command``.
Options of that program after onnxruntime/test/perftest/README.md of microsoft/onnxruntime at 011738c.
"""

from __future__ import annotations

from typing import ClassVar

from autotune.core.trial import Config
from autotune.systems.served.system import ServedSystem

_LEVELS = {
    "ORT_DISABLE_ALL": "0", "ORT_ENABLE_BASIC": "1", "ORT_ENABLE_EXTENDED": "2", "ORT_ENABLE_LAYOUT": "3",
    "ORT_ENABLE_ALL": "99",
}  # fmt: skip
_COUNTS = {"intra_op_num_threads": "-x", "inter_op_num_threads": "-y"}
_OFF = {"enable_cpu_mem_arena": "-A", "enable_mem_pattern": "-M"}
_ENTRIES = {
    "allow_intra_op_spinning": "session.intra_op.allow_spinning",
    "allow_inter_op_spinning": "session.inter_op.allow_spinning",
    "dynamic_block_base": "session.dynamic_block_base",
    "set_denormal_as_zero": "session.set_denormal_as_zero",
}
"""Entries of onnxruntime_session_options_config_keys.h that matter for speed."""


class ONNXRuntimeSystem(ServedSystem):
    """ONNX Runtime."""

    name: ClassVar[str] = "onnxruntime"
    own_program: ClassVar[tuple[str, ...]] = ("onnxruntime_perf_test",)
    model_words: ClassVar[tuple[str, ...]] = ()
    not_launched: ClassVar[str] = "ONNX Runtime has no server that generates"
    translated: ClassVar[tuple[str, ...]] = ("execution_provider", "parallel_runs", *_ENTRIES)

    def check_values(self, config: Config) -> str:
        """Return what is wrong with the parameters that are no session options."""
        runs = config.get("parallel_runs", 1)
        return (
            "" if isinstance(runs, int) and runs >= 1 else f"parallel_runs must be at least 1, found {runs!r}"
        )

    def translate(self, settings: dict[str, object]) -> dict[str, object]:
        """Return the session options alone; the rest is written by :meth:`launch_words`."""
        return {name: value for name, value in settings.items() if name not in self.translated}

    def rules(self, config: Config) -> str:
        """Name combinations without effect."""
        if (
            config.get("execution_mode") == "ORT_SEQUENTIAL"
            and int(config.get("inter_op_num_threads", 1)) > 1
        ):
            return "inter_op_num_threads above 1 needs execution_mode ORT_PARALLEL"
        return self.check_values(config)

    def launch_words(self, config: Config, port: int) -> list[str]:
        """Return the command of the performance test, which listens nowhere; its model comes last."""
        options = {**self.flags, **config}
        words = [*(self.program or self.own_program), "-e", str(options.get("execution_provider", "cpu"))]
        words += [w for name, flag in _COUNTS.items() if name in options for w in (flag, str(options[name]))]
        words += [flag for name, flag in _OFF.items() if options.get(name) is False]
        if options.get("execution_mode") == "ORT_PARALLEL":
            words.append("-P")
        if "graph_optimization_level" in options:
            words += ["-o", _LEVELS[str(options["graph_optimization_level"])]]
        if "parallel_runs" in options:
            words += ["-c", str(options["parallel_runs"])]
        entries = [f"{key}|{int(options[name])}" for name, key in _ENTRIES.items() if name in options]
        return words + (["-C", " ".join(entries)] if entries else []) + [self.model]

    def resources(self, config: Config) -> dict[str, float]:
        """Return the threads."""
        inner, outer = (self.whole(config, f"{n}_op_num_threads", 1) for n in ("intra", "inter"))
        threads = inner * (outer or 1)
        return {"cpus": float(max(1, threads))}
