"""The machine's processor time, less our own, is what other programs took: short-lived ones included."""

import os
import subprocess
import sys

import pytest

from autotune.core.measurement import Estimate
from autotune.measure.endpoint.served import MeasurementContext
from autotune.measure.statistics.validity import Measured
from autotune.measure.watch.cpu_time import CpuTime, SpareCpus, cores_used, cpu_time, own_seconds
from autotune.measure.watch.hardware import Spent
from autotune.measure.watch.machine_watch import MachineWatch, warnings, with_machine

SECOND = 1_000_000_000
BURN = "import time; end = time.process_time() + {s}\nwhile time.process_time() < end: pass"


def stat(tmp_path, *rows):
    """Write a /proc/stat whose CPUs are those that this process may use."""
    numbers = sorted(os.sched_getaffinity(0))
    text = "cpu  1 2 3 4 5 6 7 8 9 10\n"
    for number, row in zip(numbers, rows, strict=False):
        text += f"cpu{number} {' '.join(map(str, row))}\n"
    path = tmp_path / "stat"
    path.write_text(f"{text}cpu9999 9 9 9 9 9 9 9 9 0 0\nintr 5 1\n")
    return path


def test_the_kernels_counts_by_hand(tmp_path):
    #                                  user nice sys idle iowait irq softirq steal guest
    found = cpu_time(stat=stat(tmp_path, (100, 20, 30, 900, 50, 1, 2, 40, 99, 0)))
    ticks = os.sysconf("SC_CLK_TCK")
    assert found.cpus == 1
    assert found.busy == pytest.approx(193 / ticks)
    assert found.steal == pytest.approx(40 / ticks)
    assert cpu_time(stat=tmp_path / "none") is None
    (tmp_path / "stat").write_text("cpu 1 2\n")
    assert cpu_time(stat=tmp_path / "stat") is None


def test_who_used_the_processors_between_two_looks():
    before, after = CpuTime(10.0, 4, 100.0, 5.0, 20.0), CpuTime(20.0, 4, 130.0, 7.0, 38.0)
    assert cores_used(before, after) == {"cpus": 4.0, "own": 1.8, "others": 1.2, "steal": 0.2}


@pytest.mark.parametrize("tenths", [2, 3, 10])
def test_no_more_cpus_are_used_than_there_are(tenths):
    passed, ticks = tenths / 10, 0.03  # a tick of each kind that had begun before
    before, after = (
        CpuTime(10.0, 2, 100.0, 5.0, 20.0),
        CpuTime(10.001 + passed, 2, 100 + 2 * passed + ticks, 5.0, 19.0),
    )
    assert cores_used(before, after) == {"cpus": 2.0, "own": 0.0, "others": 2.0, "steal": 0.0}


def test_looks_a_few_ticks_apart_cannot_tell_who_used_the_cpus(monkeypatch):
    assert cores_used(CpuTime(10.0, 2, 100.0, 5.0, 20.0), CpuTime(10.034, 2, 100.1, 5.0, 20.0)) == {}
    spent = [
        Spent(10.0, {7: ("make", 1.0)}),
        Spent(10.034, {7: ("make", 1.1)}),
        Spent(10.4, {7: ("make", 1.4)}),
    ]
    monkeypatch.setattr("autotune.measure.watch.machine_watch.spent_by_others", lambda _own: spent.pop(0))
    watch = MachineWatch(states=list)
    assert watch.busy() == []
    assert watch.busy() == [{"name": "make", "pid": 7, "cores": 1.0}]


def test_time_of_children_that_have_ended_is_ours():
    before = own_seconds(())
    subprocess.run([sys.executable, "-c", BURN.format(s=0.3)], check=True)
    assert own_seconds(()) - before >= 0.29
    assert own_seconds((os.getpid(),)) == pytest.approx(own_seconds(()), abs=0.2)  # counted once
    assert own_seconds((2**22 + 1,)) >= before  # a root that is gone


class Cpus:
    """A machine of two CPUs: each look finds what the test says was used since."""

    def __init__(self, *steps):
        self.now, self.busy, self.own, self.steps = 0.0, 0.0, 0.0, list(steps)

    def __call__(self, _own=()):
        seconds, own, others = self.steps.pop(0)
        self.now, self.own = self.now + seconds, self.own + own
        self.busy += own + others
        return CpuTime(self.now, 2, self.busy, 0.0, self.own)


def test_others_are_counted_over_the_whole_measured_time_and_named_as_a_warning():
    clock = [0]
    cpus = Cpus((0.0, 0.0, 0.0), (10.0, 9.0, 1.0), (10.0, 5.0, 13.0), (10.0, 5.0, 11.0))
    watch = MachineWatch((), lambda: clock[0], states=list, cpu_time=cpus)
    for clock[0] in range(0, 31 * SECOND, 10 * SECOND):
        watch.look()
    seen = {"cores": watch.cores(12 * SECOND, 28 * SECOND), "busy_processes": []}
    assert seen["cores"] == {"cpus": 2.0, "own": 0.5, "others": 1.2, "steal": 0.0}
    assert warnings(seen) == ["other programs were busy while it was measured: 1.2 of 2 CPUs"]
    named = {**seen, "busy_processes": [{"name": "make", "cores": 0.9}]}
    assert warnings(named)[0].endswith("1.2 of 2 CPUs, make (0.9 cores)")
    # one that was busy before, during warm-up, disturbed nothing
    assert warnings({**named, "cores": {**seen["cores"], "others": 0.05}}) == []


def test_a_measurement_shorter_than_two_looks_has_its_neighbours_too():
    clock = [0]
    watch = MachineWatch((), lambda: clock[0], states=list, cpu_time=Cpus((0.0, 0.0, 0.0), (1.0, 0.4, 1.2)))
    watch.look()
    clock[0] = SECOND
    watch.look()  # too soon
    assert len(watch.looks) == 1
    found = with_machine(Measured({"x": Estimate(1.0)}, []), watch, 0, SECOND)
    assert found.facts["machine"]["cores"]["others"] == 1.2
    assert "busy while it was measured: 1.2 of 2 CPUs" in found.facts["warnings"][0]


def looks_of(*idle, cpus=8):
    """Return what looks every half second find where so many CPUs idle between them."""
    found = [CpuTime(0.0, cpus, 0.0, 0.0)]
    for n in idle:
        last = found[-1]
        found.append(CpuTime(last.time_s + 0.5, cpus, last.busy + 0.5 * (cpus - n), 0.0))
    return found


@pytest.mark.parametrize(
    ("idle", "wanted"),
    [((6.0, 3.0), "real-time"), ((6.0, 0.4, 7.0), "nice -10"), ((), "nice -10")],
)
def test_the_generator_is_real_time_only_where_cpus_are_left(idle, wanted, monkeypatch):
    monkeypatch.setattr("autotune.measure.watch.cpu_time.usable_cpus", lambda: 8.0)
    monkeypatch.setattr("autotune.measure.watch.cpu_time.time.monotonic", lambda: 1e9)
    looks = iter(looks_of(*idle))
    found = SpareCpus(lambda: next(looks))
    for _ in range(len(idle) + 1):
        found.look()
    assert MeasurementContext(None, None, None, 0.0, spare=found).precedence == wanted
    assert MeasurementContext(None, None, None, 0.0).precedence == "nice -10"  # nobody looked


def test_a_quota_bounds_what_is_left(monkeypatch):
    monkeypatch.setattr("autotune.measure.watch.cpu_time.usable_cpus", lambda: 2.0)
    monkeypatch.setattr("autotune.measure.watch.cpu_time.time.monotonic", lambda: 1e9)
    ticks = iter([CpuTime(0.0, 64, 0.0, 0.0), CpuTime(1.0, 64, 1.7, 0.0)])
    found = SpareCpus(lambda: next(ticks))
    found.look()
    found.look()
    assert found.least == pytest.approx(0.3)
