"""Measure an endpoint as a workload says: the right loop, and what is to be seen beside the records."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from autotune.core.endpoint import Endpoint
from autotune.core.measurement import Estimate
from autotune.measure.endpoint.rate_search import Limit, measure_max_rate
from autotune.measure.endpoint.served import MeasurementContext, measure_served
from autotune.measure.endpoint.token_counts import counting
from autotune.measure.load import choose
from autotune.measure.load.base import LoadGenerator
from autotune.measure.metrics import Metric
from autotune.measure.statistics.validity import Measured
from autotune.measure.watch.cpu_time import SpareCpus
from autotune.measure.watch.energy import EnergyMeter
from autotune.measure.watch.machine_watch import MachineWatch, with_machine
from autotune.measure.watch.server_watch import ServerWatch, counters_of
from autotune.measure.workload import RateSearch, Workload

_AT_ONCE = 8  # requests under way in a closed loop whose workload does not say: some batching, no long queue


def build_generator(workload: Workload, salt: str = "") -> LoadGenerator:
    """Return the load generator that a workload names.

    Args:
        workload: Its ``generator`` says which.
        salt: Text that makes prompts differ from those of other runs, for a server that has served some.

    Raises:
        EnvironmentProblem: It is a tool that is not installed.
    """
    return choose.build_generator(workload.generator, salt)


def measure_endpoint(
    generator: LoadGenerator,
    endpoint: Endpoint,
    workload: Workload,
    *,
    goal: str,
    limits: Sequence[Limit] = (),
    deadline: float,
    own: Sequence[int] = (),
    seed: int = 0,
    clock: Callable[[], int] = time.monotonic_ns,
    plugins: Sequence[Metric] = (),
) -> Measured:
    """Measure a server.

    Args:
        generator: Generator that sends the requests.
        endpoint: Endpoint of the server.
        workload: Requests to send; ``rate`` is a number, a search for the highest one, or not there.
        goal: Metric whose interval ends the run.
        limits: Limits of the objective, for the search.
        deadline: ``time.monotonic()`` value by which all must be over.
        own: Roots of process trees that belong to the server, so that they are not taken for neighbours.
        seed: Seed of the bootstrap.
        clock: Monotonic nanoseconds.
        plugins: Metrics of plug-ins that are measured too.
    """
    machine = MachineWatch(own, clock)
    fetch = counters_of(endpoint)
    server = None if fetch is None else ServerWatch(fetch, clock)
    spare = SpareCpus()
    context = MeasurementContext(
        generator=generator,
        endpoint=endpoint,
        workload=workload,
        deadline=deadline,
        clock=clock,
        watches=(machine, spare) if server is None else (machine, spare, server),
        spare=spare,
        seed=seed,
        max_error_rate=workload.max_error_rate,
        plugins=plugins,
    )
    meter = EnergyMeter()
    began = clock()
    found = _measure(context, goal, limits)
    joules, took = meter.joules(), (clock() - began) / 1e9
    counted, counting_notes = counting(found.records)
    facts = {**found.facts, **counted, "load": generator.facts(endpoint)}
    if counting_notes:
        facts["warnings"] = [*found.facts.get("warnings", ()), *counting_notes]
    found = replace(found, facts=facts)
    return _with_watches(found, machine, server, None if joules is None or took <= 0 else joules / took)


def _measure(context: MeasurementContext, goal: str, limits: Sequence[Limit]) -> Measured:
    rate = context.workload.rate
    if isinstance(rate, RateSearch):
        return measure_max_rate(context, goal=goal, limits=limits, low=rate.low, high=rate.high)
    if context.workload.arrival == "concurrency":
        return measure_served(context, goal=goal, concurrency=context.workload.concurrency or _AT_ONCE)
    return measure_served(context, goal=goal, rate=rate)


def _with_watches(
    found: Measured, machine: MachineWatch, server: ServerWatch | None, watts: float | None
) -> Measured:
    """Return what was measured with what the watches saw in the measured time."""
    if "measured_ns" not in found.facts:
        return found
    start, end = found.facts["measured_ns"]
    facts = dict(found.facts)
    metrics = dict(found.metrics)
    if server is not None:
        metrics |= server.metrics(start, end, int(found.facts["requests"]))
        facts["engine"] = server.facts(start, end)
    memory = machine.gpu_memory(start, end)
    if memory is not None:
        metrics["memory.gpu"] = Estimate(memory, None, 1, "B")
    # The packages' counters are read before and after everything; the power is taken to be even.
    seconds, tokens = (end - start) / 1e9, int(found.facts["output_tokens"])
    parts = [part for part in (watts and watts * seconds, machine.gpu_joules(start, end)) if part]
    if parts and tokens:
        metrics["energy.per_token"] = Estimate(sum(parts) / tokens, None, 1, "J")
    return with_machine(replace(found, metrics=metrics, facts=facts), machine, start, end)
