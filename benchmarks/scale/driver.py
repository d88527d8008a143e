"""The process of one study: all of ``autotune run`` but its view, over slots in place of workers."""

from __future__ import annotations

import os
from pathlib import Path

from autotune.study.run import run_study
from autotune.study.study_file import StudyFile, read_study
from benchmarks.executor.simulated import Quiet
from benchmarks.scale.slots import SlotExecutor


def drive(folder: Path, address: str, hosts: int) -> None:
    """Run the study of a folder until somebody stops it: a driver as ``autotune run`` is one."""
    log = os.open(folder / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    spec = read_study(folder / "study.yaml")

    def executor(spec: StudyFile, _local: bool) -> SlotExecutor:
        return SlotExecutor(address, hosts, rules=spec.resources.shared())

    run_study(spec, store=folder, view=Quiet(), make_executor=executor)
