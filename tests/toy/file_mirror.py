"""A mirror that copies each trial into a file of a folder, as a third party's would."""

import json
import threading
from pathlib import Path

from autotune.errors import AutotuneError, SpecError
from autotune.ledger import Ledger
from autotune.tracking.base import MirrorReport


class FileMirror:
    """Called from a thread of its own, so it copies whenever it is told."""

    def __init__(self, ledger, study, folder):
        self.ready = threading.Event()
        self.ledger, self.study, self.folder = ledger, study, Path(folder)
        self.started, self.error = False, ""

    @classmethod
    def from_dict(cls, data, *, ledger, study):
        folder = data.pop("folder", ".")
        for key in data:
            raise SpecError(f"a file mirror has no option {key!r}", path=(key,), at_key=True)
        return cls(ledger, study, folder)

    def start(self):
        self.started = True
        self.notify()
        self.ready.set()

    def notify(self):
        self._look(copy=self.started)

    def artifacts(self, files):
        for name, path in files.items():
            if path.exists():
                (self.folder / name).write_bytes(path.read_bytes())

    def close(self, timeout):
        missing = self._look(copy=self.started)
        return MirrorReport(missing, (self.error,) if self.error else ())

    def _look(self, copy):
        """Copy what has ended, if that is wanted; the number of trials that are missing."""
        missing, self.error = 0, ""
        try:
            with Ledger.open(self.ledger, read_only=True) as ledger:
                trials = [trial for trial in ledger.trials(self.study) if trial.state.finished]
        except AutotuneError as error:
            self.error = str(error)
            return 0
        for trial in trials:
            file = self.folder / f"{trial.number}.copied"
            if copy:
                file.write_text(json.dumps(trial.measurement.to_dict()))
            missing += not file.exists()
        return missing
