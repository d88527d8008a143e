import json
import os
import subprocess
import sys

import pytest

from autotune.measure.watch.hardware import busy_processes, gpus, hardware_facts, parse_gpus, usable_cpus


def test_facts_are_plain_json_and_complete():
    facts = hardware_facts(sample_s=0.05)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cpu"]
    assert facts["memory_bytes"] > facts["memory_available_bytes"] > 0
    assert len(facts["load_average"]) == 3
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))


def test_usable_cpus_respects_the_affinity():
    assert 0 < usable_cpus() <= len(os.sched_getaffinity(0))


def test_own_children_are_not_called_busy_neighbours():
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert child.pid not in [row["pid"] for row in busy_processes(0.3)]
    finally:
        child.kill()
        child.wait()


def test_gpus_are_never_required():
    assert isinstance(gpus(), list)


def test_an_answer_of_nvidia_smi():
    text = (
        "NVIDIA H100 80GB HBM3, GPU-4f6c, 81559, 550.54.15, 700.00, 1980, 34, 0\n"
        "NVIDIA GB10, GPU-77aa, [N/A], 580.82.09, [N/A], 3003, 41, 2\n"
        "Failed to initialize NVML: Unknown Error\n"
    )
    assert parse_gpus(text) == [
        {
            "name": "NVIDIA H100 80GB HBM3",
            "uuid": "GPU-4f6c",
            "memory_mib": 81559,
            "driver": "550.54.15",
            "power_limit_w": 700.0,
            "max_clock_mhz": 1980,
            "temperature_c": 34,
            "utilization_percent": 0,
        },
        {
            "name": "NVIDIA GB10",
            "uuid": "GPU-77aa",
            "memory_mib": None,
            "driver": "580.82.09",
            "power_limit_w": None,
            "max_clock_mhz": 3003,
            "temperature_c": 41,
            "utilization_percent": 2,
        },
    ]


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho 'NVIDIA-SMI has failed'\n", "not a program"]
)
def test_a_broken_driver_means_no_gpu(script, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus() == []
