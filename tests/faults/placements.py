"""A driver that places attempts on the cluster that RAY_ADDRESS names, and prints where Ray put them."""

import json
import sys
import time
from pathlib import Path

from autotune.core.deadlines import Deadlines
from autotune.core.placement import Rules
from autotune.executor.base import Job
from autotune.executor.ray import RayExecutor

FOLDER = Path(sys.argv[1])


def job(trial, **resources):
    return Job(
        study="placed", trial=trial, attempt=1, config={"batch_size": 1, "mode": "hangs"},
        system={"use": "toy"}, workload={"prompt_tokens": "4", "output_tokens": "4"},
        goal="output_throughput",
        scratch=str(FOLDER / "placed" / f"trial-{trial}" / "attempt-1"),
        deadlines=Deadlines(60, 60, 1), resources=resources,
    )  # fmt: skip


def groups(executor):
    """Return by group its strategy and the name of the node of each bundle, once Ray has placed them all."""
    from ray.util.placement_group import placement_group_table

    names = {node.id: node.name for node in executor._nodes()}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        table = [row for row in placement_group_table().values() if row["state"] != "REMOVED"]
        if all(row["state"] == "CREATED" for row in table):
            break
        time.sleep(0.1)
    return [
        {"strategy": row["strategy"], "nodes": [names[i] for i in row["bundles_to_node_id"].values()],
         "bundles": list(row["bundles"].values())}
        for row in table
    ]  # fmt: skip


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def main():
    told = {}
    executor = RayExecutor()
    executor.start()
    until(lambda: len(executor.nodes()) == 2)
    told["nodes"] = executor.nodes()
    told["capacity"] = {str(gpus): executor.capacity({"cpus": 1, "gpus": gpus}) for gpus in (1, 3, 4, 8)}
    told["capacity in stages"] = executor.capacity({"cpus": 1, "gpus": 8, "stages": 2})
    told["shortage"] = executor.shortage({"cpus": 1, "gpus": 8})
    executor.submit(job(0, cpus=1, gpus=3))
    executor.submit(job(1, cpus=1, gpus=4))
    told["tensor parallel"] = groups(executor)
    until(lambda: executor.has_room({"cpus": 1, "gpus": 1}))  # once Ray knows what the groups have left
    told["room for 1"] = executor.has_room({"cpus": 1, "gpus": 1})
    told["room for 2"] = executor.has_room({"cpus": 1, "gpus": 2})
    until(lambda: len(list(FOLDER.rglob("server.sock"))) == 2)  # they run at once
    executor.cancel()
    until(lambda: executor.has_room({"cpus": 1, "gpus": 8, "stages": 2}))
    executor.submit(job(2, cpus=2, gpus=8, stages=2))
    told["pipeline"] = groups(executor)
    until(lambda: len(list(FOLDER.rglob("server.sock"))) == 3)
    executor.close()
    bound = RayExecutor(rules=Rules(labels={"zone": "b"}))
    bound.start()
    until(bound.nodes)
    told["labelled"] = bound.nodes()
    bound.close()
    wrong = RayExecutor(rules=Rules(accelerator="H100"))
    wrong.start()
    told["no such accelerator"] = wrong.shortage({"cpus": 1, "gpus": 1})
    wrong.close()
    print(json.dumps(told))


main()
