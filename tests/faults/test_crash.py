"""Crashes of the driver: the resumed study is the undisturbed one, bit for bit."""

import multiprocessing
import random
import signal
import time

import driver
import pytest

from autotune.errors import LedgerError
from tests_shared import wait_until

pytestmark = pytest.mark.timeout(600)

PARALLEL = 2  # attempts in flight when the driver dies: all that may be repeated
PLACES = (
    "ledger.commit",
    "ledger.committed",
    "ledger.acknowledged",
    "runner.submit",
    "runner.submitted",
    "runner.commit",
)


@pytest.fixture(scope="module")
def fork():
    """Processes that have everything imported when they start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["driver", "autotune.engine.gp", "torch", "botorch", "gpytorch"])
    return context


class Study:
    """One study's folder, and the drivers that are started over it."""

    def __init__(self, fork, folder, engine):
        self.fork = fork
        self.folder = driver.prepare(folder, engine)
        self.mark = self.folder / "mark"

    def start(self, failpoint=""):
        env = {"AUTOTUNE_FAILPOINT": failpoint, "AUTOTUNE_FAILPOINT_MARK": str(self.mark)}
        process = self.fork.Process(target=driver.main, args=(self.folder, env))
        process.start()
        return process

    def finish(self):
        process = self.start()
        process.join(120)
        assert process.exitcode == 0, (self.folder / "driver.log").read_text()

    def known(self):
        """Return what is acknowledged so far: finished trials by number."""
        try:
            history = driver.history(self.folder)
        except LedgerError as error:  # killed before there was a study
            if "no ledger at" in str(error) or "no study was started in it yet" in str(error):
                return {}
            raise
        return {row[0]: row for row in history if row[2].finished}


@pytest.fixture(scope="module")
def undisturbed(fork, tmp_path_factory):
    """The history of a study that nobody disturbed, by engine."""
    known = {}

    def of(engine):
        if engine not in known:
            study = Study(fork, tmp_path_factory.mktemp("undisturbed") / engine, engine)
            began = time.monotonic()
            study.finish()
            known[engine] = driver.history(study.folder), time.monotonic() - began
        return known[engine]

    return of


def check(study, expected, before, crashes=1):
    """Assert nothing lost, nothing doubled, nothing changed; return how many attempts were repeated."""
    found = driver.history(study.folder)
    assert before.items() <= {row[0]: row for row in found}.items(), (
        "an acknowledged trial was lost or changed"
    )
    assert found == expected
    states = driver.attempts(study.folder)
    assert [each.count("DONE") for each in states] == [1] * len(expected)
    repeated = sum(len(each) - 1 for each in states)
    assert {state for each in states for state in each} <= {"DONE", "LOST"}
    assert repeated <= PARALLEL * crashes
    return repeated


def broken(study, place, mode):
    """Start a driver that breaks at a place, and see that it did."""
    process = study.start(f"{place}:{mode}")
    wait_until(study.mark.exists, 120)
    if mode.startswith("hang"):
        time.sleep(0.1)
        assert process.is_alive()
        process.kill()
    process.join(120)
    assert process.exitcode == (-signal.SIGKILL if not mode.startswith("raise") else 1)


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_killed_at_a_step_with_a_model(fork, tmp_path, undisturbed, record, place):
    expected, _ = undisturbed("gp")
    study = Study(fork, tmp_path / "s", "gp")
    broken(study, place, "kill@6")
    before = study.known()
    study.finish()
    repeated = check(study, expected, before)
    record(f"driver killed at `{place}`, engine gp", "P1 P2 P3 P4", f"0 lost, 0 doubled, {repeated} repeated")


ONE, ALL = (7,), (1, 2, 7, 11)  # visits; there are at least eleven of each place
STEPS = [("ledger.commit", "kill", ONE), ("runner.submit", "kill", ONE), ("ledger.commit", "torn", ONE)]
STEPS += [slow(place, mode, ALL) for place in PLACES for mode in ("kill", "raise", "hang")]
STEPS += [slow("ledger.commit", "torn", ALL)]


@pytest.mark.parametrize(("place", "mode", "visits"), STEPS)
def test_broken_at_a_step(fork, tmp_path, undisturbed, record, place, mode, visits):
    expected, _ = undisturbed("sobol")
    repeated = 0
    for visit in visits:
        study = Study(fork, tmp_path / str(visit), "sobol")
        broken(study, place, f"{mode}@{visit}")
        before = study.known()
        study.finish()
        repeated += check(study, expected, before)
    if visits == ALL:
        figure = f"{len(visits)} studies: 0 lost, 0 doubled, {repeated} repeated, all in flight"
        record(f"driver: `{mode}` at visits {visits} of `{place}`", "P1 P2 P3 P4", figure)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # some twelve whole studies, each killed and resumed
def test_killed_at_fifty_random_moments(fork, tmp_path, undisturbed, record):
    expected, seconds = undisturbed("gp")
    rng = random.Random(6)
    kills = repeated = studies = 0
    while kills < 50:
        study = Study(fork, tmp_path / str(studies), "gp")
        studies += 1
        before, own = {}, 0
        while True:
            process = study.start()
            process.join(rng.uniform(0.0, 0.7 * seconds))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            own += 1
            now = study.known()
            assert before.items() <= now.items(), "an acknowledged trial was lost or changed"
            before = now
        kills += own
        repeated += check(study, expected, before, own)
    figure = f"{studies} studies: 0 lost, 0 doubled, {repeated} attempts repeated, all in flight"
    record(f"driver killed at {kills} random moments, engine gp", "P1 P2 P3 P4", figure)


def test_two_runs_at_once_the_second_changes_nothing_and_names_the_first(fork, tmp_path, undisturbed, record):
    expected, _ = undisturbed("sobol")
    study = Study(fork, tmp_path / "s", "sobol")
    first = study.start("runner.commit:hang@3")
    wait_until(study.mark.exists, 60)
    rows = driver.history(study.folder)
    spec = study.folder / "study.yaml"
    spec.write_text(spec.read_text().replace("trials: 9", "trials: 12"))
    refused = 0
    for _ in range(5):
        second = study.start()
        second.join(60)
        refused += second.exitcode == 2
    said = (study.folder / "driver.log").read_text()
    assert refused == 5
    assert said.count(f"study 'crash' is already running: process {first.pid} on ") == 5
    assert " since 20" in said
    assert driver.history(study.folder) == rows
    with driver.Ledger.open(study.folder / "ledger.sqlite", read_only=True) as ledger:
        assert str(ledger.study("crash").spec["budget"]["trials"]) == "9"
    spec.write_text(spec.read_text().replace("trials: 12", "trials: 9"))
    first.kill()
    first.join()
    study.finish()
    check(study, expected, {})
    record(
        "five resumes beside a running one",
        "P2 P3",
        "5 refused with pid, host and start of the first; 0 changes",
    )


def test_two_runs_started_in_the_same_moment(fork, tmp_path, undisturbed, record):
    expected, _ = undisturbed("sobol")
    study = Study(fork, tmp_path / "s", "sobol")
    drivers = [study.start() for _ in range(6)]
    for each in drivers:
        each.join(120)
    codes = sorted(each.exitcode for each in drivers)
    assert codes[0] == 0
    assert set(codes) <= {0, 2}
    check(study, expected, {})
    refused = codes.count(2)
    record("six runs of a new study in the same moment", "P2", f"{refused} refused, one history, 0 doubled")
