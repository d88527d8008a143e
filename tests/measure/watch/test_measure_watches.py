import json
import os

import pytest

from autotune.core.endpoint import Endpoint, Refused
from autotune.core.measurement import Cause
from autotune.measure.endpoint import serving
from autotune.measure.watch.hardware import parse_gpus, spent_by_others
from autotune.measure.watch.machine_watch import MachineWatch, clock_mhz, throttled_ms, warnings
from autotune.measure.watch.prometheus import read_samples
from autotune.measure.watch.server_watch import ServerWatch, counters_of
from autotune.measure.workload import Workload

SECOND = 1_000_000_000

VLLM = """# HELP vllm:request_queue_time_seconds Histogram
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{{le="0.3",model_name="a b"}} {n}
vllm:request_queue_time_seconds_count{{engine="0",model_name="a } b"}} {n}
vllm:request_queue_time_seconds_sum{{engine="0",model_name="a } b"}} {queue}
vllm:request_prefill_time_seconds_count{{engine="0"}} {n}
vllm:request_prefill_time_seconds_sum{{engine="0"}} {prefill}
vllm:spec_decode_num_drafts_total{{engine="0"}} {drafts}
vllm:spec_decode_num_draft_tokens_total{{engine="0"}} {drafted}
vllm:spec_decode_num_accepted_tokens_total{{engine="0"}} {accepted}
vllm:kv_cache_usage_perc{{engine="0"}} {usage}
vllm:num_preemptions_total{{engine="0"}} {preempted}
"""


def vllm(**numbers):
    text = VLLM
    for name, value in numbers.items():
        text = text.replace("{" + name + "}", str(value))
    return text.replace("{{", "{").replace("}}", "}")


class Hand:
    """A clock that is turned by hand."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def watched(texts):
    clock, left = Hand(), list(texts)
    watch = ServerWatch(lambda: left.pop(0), clock)
    for i in range(len(texts)):
        clock.now = i * 2 * SECOND
        watch.look()
    return watch


def test_prometheus_text_with_labels_times_and_rubbish():
    text = 'a{x="1"} 2 1700000000\na{x="} 3"} 4.5\n# a 9\na NaN\na{x="2"} nothing\nb 1\nab 7\n\n'
    assert read_samples(text, {"a"}) == {"a": [2.0, 4.5]}


def test_phases_and_drafts_come_from_the_change_of_the_servers_counters():
    first = vllm(n=10, queue=1, prefill=2, drafts=100, drafted=400, accepted=200, usage=0.5, preempted=1)
    last = vllm(n=30, queue=5, prefill=3, drafts=200, drafted=800, accepted=450, usage=0.9, preempted=4)
    watch = watched([first, last])
    found = watch.metrics(0, 5 * SECOND, 20)
    assert found["phase.queue"].value == pytest.approx(0.2)
    assert found["phase.prefill"].value == pytest.approx(0.05)
    assert found["phase.queue"].n == 20
    assert found["acceptance_length"].value == pytest.approx(3.5)
    assert found["acceptance_rate"].value == pytest.approx(0.625)
    assert "phase.decode" not in found
    assert watch.facts(0, 5 * SECOND) == {"looks": 2, "kv_cache_usage_max": 0.9, "preemptions": 3.0}
    assert watch.metrics(0, SECOND, 20) == {}  # one look says nothing about a change


def test_llama_cpp_counts_seconds_and_no_requests():
    texts = [
        f"llamacpp:prompt_seconds_total {a}\nllamacpp:tokens_predicted_seconds_total {b}\n"
        for a, b in ((1, 10), (3, 50))
    ]
    found = watched(texts).metrics(0, 5 * SECOND, 4)
    assert found["phase.prefill"].value == pytest.approx(0.5)
    assert found["phase.decode"].value == pytest.approx(10)


def test_a_server_that_does_not_tell_costs_nothing():
    def refuses():
        raise ConnectionRefusedError("gone")

    watch = ServerWatch(refuses, Hand())
    watch.look()
    assert watch.metrics(0, SECOND, 1) == {}
    assert watch.facts(0, SECOND)["problem"] == "ConnectionRefusedError: gone"
    assert counters_of(Endpoint("http://127.0.0.1:1", "m")) is None
    fetch = counters_of(Endpoint("http://127.0.0.1:1", "m", prometheus="/metrics"))
    with pytest.raises(Refused, match="refused"):
        fetch()


def cpu(tmp_path, throttled):
    for i, khz in enumerate((2_000_000, 3_000_000)):
        folder = tmp_path / f"cpu{i}"
        for name, value in (
            ("cpufreq/scaling_cur_freq", khz),
            ("thermal_throttle/package_throttle_total_time_ms", throttled),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{value}\n")
    return tmp_path


def test_a_processor_that_was_throttled_is_an_environment_fault(tmp_path):
    clock = Hand()
    watch = MachineWatch((), clock, cpu(tmp_path, 100), list)
    watch.look()
    assert clock_mhz(tmp_path) == 2500
    cpu(tmp_path, 160)
    clock.now = 10 * SECOND
    watch.look()
    assert watch.throttled(0, clock.now) == ""  # 60 ms of 10 s
    cpu(tmp_path, 900)
    clock.now = 20 * SECOND
    watch.look()
    assert watch.throttled(0, clock.now) == "the processor was throttled for 0.8 of 20 s"
    facts = watch.facts(0, clock.now)
    assert (facts["throttled_ms"], facts["clock_mhz_min"]) == (800, 2500)
    assert throttled_ms(tmp_path / "nowhere") is None
    assert json.loads(json.dumps(facts)) == facts


def test_gpus_memory_power_and_heat(tmp_path):
    clock = Hand()
    states = [
        [{"clock_mhz": 1900, "memory_mib": 1000, "power_w": 100.0, "reasons": 0x4}],
        [{"clock_mhz": 1500, "memory_mib": 3000, "power_w": 300.0, "reasons": 0x20}],
        [{"clock_mhz": 1400, "memory_mib": 2000, "power_w": 300.0, "reasons": 0x40}],
    ]
    left = list(states)
    watch = MachineWatch((), clock, tmp_path, lambda: left.pop(0))
    for i in range(3):
        clock.now = i * 10 * SECOND
        watch.look()
    assert watch.gpu_memory(0, clock.now) == 3000 * 2**20
    assert watch.gpu_joules(0, clock.now) == pytest.approx(2000 + 3000)
    assert watch.throttled(0, clock.now) == "a GPU was slowed down by its temperature in 2 of 3 looks"
    assert watch.facts(0, clock.now)["gpus"] == [
        {"clock_mhz_min": 1400, "memory_mib_max": 3000, "reasons": [4, 32, 64]}
    ]


def test_what_nvidia_smi_says_of_a_gpu_at_work():
    fields = {"clocks.sm": "clock_mhz", "power.draw": "power_w", "clocks_throttle_reasons.active": "reasons"}
    assert parse_gpus("1980, 412.33, 0x0000000000000004\n", fields) == [
        {"clock_mhz": 1980, "power_w": 412.33, "reasons": "0x0000000000000004"}
    ]


def test_our_own_processes_are_no_neighbours():
    assert os.getpid() not in spent_by_others().by_process
    assert os.getppid() not in spent_by_others([os.getppid()]).by_process


def test_busy_neighbours_are_a_warning():
    facts = {"busy_processes": [{"name": "make", "pid": 1, "cores": 1.5}]}
    assert warnings(facts) == ["other programs were busy while it was measured: make (1.5 cores)"]
    assert warnings({"busy_processes": []}) == []


def test_an_endpoint_is_measured_with_all_that_is_seen_beside(fake_generator, monkeypatch):
    generator = fake_generator(lambda rng, i, t: 0.5, slots=8)
    monkeypatch.setattr(serving.MachineWatch, "throttled", lambda self, start, end: "too hot")
    found = serving.measure_endpoint(
        generator,
        Endpoint("http://127.0.0.1:1", "toy"),
        Workload(),
        goal="output_throughput",
        deadline=1e9,
        clock=generator.world.clock,
    )
    assert found.cause is Cause.THROTTLED
    assert found.invalid == ("too hot",)
    assert found.facts["machine"]["looks"] >= 2
    assert found.metrics["output_throughput"].value == pytest.approx(160, rel=0.05)
    assert json.loads(json.dumps(found.facts)) == found.facts


def test_the_workload_says_which_loop_it_is(fake_generator):
    def plans(**section):
        generator = fake_generator(lambda rng, i, t: 0.01, slots=4)
        serving.measure_endpoint(
            generator,
            Endpoint("http://127.0.0.1:1", "toy"),
            Workload.from_dict({"time": "10 s", **section}),
            goal="output_throughput",
            limits=[("e2e.mean", "<=", 1.0)],
            deadline=1e9,
            clock=generator.world.clock,
        )
        return [(plan.stream, plan.rate, plan.concurrency) for plan in generator.plans]

    assert plans() == [("warmup", None, 1), ("measured", None, 8)]
    assert plans(concurrency=3) == [("warmup", None, 1), ("measured", None, 3)]
    assert plans(rate="20") == [("warmup", None, 1), ("measured", 20.0, None)]
    searched = plans(rate={"search": "max", "low": "10", "high": "40"})
    searched = [plan for plan in searched if not plan[0].startswith("idle/")]  # a lone request before each
    assert [plan[:2] for plan in searched[1:4]] == [
        ("search/0", 10.0),
        ("search/1", 20.0),
        ("search/2", 40.0),
    ]
    assert searched[-1][0] == "measured/0"
