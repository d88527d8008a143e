"""What every mirror must keep; inherit it to test one of your own.

.. code-block:: python

    class TestMyMirror(MirrorContract):
        def make(self, ledger, study):
            return MyMirror.from_dict({"folder": str(ledger.parent)}, ledger=ledger, study=study)

        def copied(self, ledger, study):
            return [int(path.stem) for path in ledger.parent.glob("*.copied")]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.core.file_names import LEDGER_NAME
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.ledger import Ledger
from autotune.tracking.base import Mirror, MirrorReport

STUDY = "chat"
SPEC = {
    "objective": {"maximize": "throughput", "limits": ["latency.p99 <= 500 ms"]},
    "space": {"parameters": {"batch_size": {}}},
}
_PATIENCE_S = 60.0  # a library is loaded, a store is made


def run_trial(ledger: Ledger, number: int) -> None:
    """Enter a trial that was measured; every third one ran out of memory."""
    ledger.add_trial(STUDY, number, Suggestion({"batch_size": 2**number}, Reason.EXPLORE, engine="gp 1"))
    attempt = ledger.start_attempt(STUDY, number, "local")
    start = 1_700_000_000_000_000_000 + number * 60_000_000_000
    metrics = {
        "throughput": Estimate(10.0 + number, 0.5, 5, "tokens/s"),
        "latency.p99": Estimate(0.1, unit="s"),
    }
    found = Measurement(metrics, started_ns=start, ended_ns=start + 30_000_000_000)
    state = TrialState.COMPLETED
    if number % 3 == 2:
        failure = Failure(Cause.OUT_OF_MEMORY, "did not fit")
        found, state = Measurement(failure=failure, started_ns=start, ended_ns=start), TrialState.INFEASIBLE
    ledger.finish_attempt(STUDY, number, attempt, found, state=state, node="gpu-1")


def file_of(ledger: Ledger) -> Path:
    """Return the file of a ledger."""
    assert ledger.path is not None
    return ledger.path


class MirrorContract:
    """Contract suite of a mirror; a subclass makes one and reads back what it copied."""

    def make(self, ledger: Path, study: str) -> Mirror:
        """Return the mirror under test of a study, not started; always of the same store."""
        raise NotImplementedError

    def copied(self, ledger: Path, study: str) -> list[int]:
        """Return the numbers of the trials that the store has, one twice if it is there twice."""
        raise NotImplementedError

    @pytest.fixture
    def study_ledger(self, tmp_path: Path) -> Iterator[Ledger]:
        """A ledger with a running study that has no trial yet, held as its run holds it."""
        with Ledger.open(tmp_path / LEDGER_NAME) as ledger, ledger.lock_study(STUDY):
            ledger.create_study(STUDY, spec=SPEC, fingerprint="f1", seed=7, engine="gp 1")
            ledger.set_study_state(STUDY, "RUNNING")
            yield ledger

    def test_a_study_is_followed_and_nothing_is_copied_twice(self, study_ledger: Ledger) -> None:
        mirror = self.make(file_of(study_ledger), STUDY)
        mirror.start()
        for number in range(4):
            run_trial(study_ledger, number)
            mirror.notify()
        assert mirror.ready.wait(_PATIENCE_S)
        study_ledger.set_study_state(STUDY, "COMPLETED")
        mirror.notify()
        assert mirror.close(_PATIENCE_S) == MirrorReport(0)
        assert mirror.close(_PATIENCE_S) == MirrorReport(0)
        assert sorted(self.copied(file_of(study_ledger), STUDY)) == [0, 1, 2, 3]

    def test_a_study_that_goes_on_is_completed(self, study_ledger: Ledger) -> None:
        run_trial(study_ledger, 0)
        assert self.make(file_of(study_ledger), STUDY).close(0.0).pending > 0  # it was never started
        for number in (1, 2):
            mirror = self.make(file_of(study_ledger), STUDY)
            mirror.start()
            run_trial(study_ledger, number)
            mirror.notify()
            assert mirror.close(_PATIENCE_S) == MirrorReport(0)
            assert sorted(self.copied(file_of(study_ledger), STUDY)) == list(range(number + 1))

    def test_files_are_taken_whether_they_are_there_or_not(
        self, study_ledger: Ledger, tmp_path: Path
    ) -> None:
        (tmp_path / "report.html").write_text("<p>report</p>", encoding="utf-8")
        mirror = self.make(file_of(study_ledger), STUDY)
        mirror.start()
        run_trial(study_ledger, 0)
        study_ledger.set_study_state(STUDY, "COMPLETED")
        mirror.artifacts({"report.html": tmp_path / "report.html", "gone.html": tmp_path / "gone.html"})
        assert mirror.close(_PATIENCE_S).pending == 0
        assert self.copied(file_of(study_ledger), STUDY) == [0]

    @pytest.mark.parametrize("text", [None, "this is no ledger, but it is long enough to look like a file"])
    def test_a_ledger_that_cannot_be_read_is_reported_and_raises_nothing(
        self, tmp_path: Path, text: str | None
    ) -> None:
        path = tmp_path / f"no {LEDGER_NAME}"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        assert self.make(path, STUDY).close(0.1).errors
        mirror = self.make(path, STUDY)
        mirror.start()
        mirror.notify()
        assert mirror.ready.wait(_PATIENCE_S)
        assert mirror.close(5.0).errors
