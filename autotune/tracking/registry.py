"""Names of the mirrors; a third party adds one by an entry point of ``autotune.mirrors``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue

from autotune.core.redact import redact
from autotune.core.registry import Registry
from autotune.errors import SpecError, under, words_of
from autotune.tracking.base import Mirror, MirrorReport

MIRRORS = Registry("mirror", "autotune.mirrors", {"mlflow": "autotune.tracking.mlflow:MlflowMirror"})

_SLACK_S = 1.0  # beyond the time that a mirror is given to end

_log = logging.getLogger("autotune.tracking")


def build_mirrors(sections: Mapping[str, Mapping[str, object]], ledger: Path, study: str) -> list[Mirror]:
    """Return the mirrors of a study that plug-ins bring, not started.

    Args:
        sections: Options of each by its name.
        ledger: Ledger that is mirrored.
        study: Name of the study in it.

    Raises:
        SpecError: There is no such mirror, or an option is wrong; ``path`` is relative to the section.
        EnvironmentProblem: A plug-in is broken.
    """
    found = []
    for name, options in sections.items():
        with under("mirrors", name):
            found.append(_build(name, options, ledger, study))
    return found


def _build(name: str, options: Mapping[str, object], ledger: Path, study: str) -> Mirror:
    if name in MIRRORS.builtin:
        raise SpecError(f"{name} has a key of its own", hint=f"`tracking: {{{name}: ADDRESS}}`", at_key=True)
    try:
        kind = MIRRORS.load(name)
    except SpecError as error:
        raise SpecError(error.message, hint=error.hint, at_key=True) from None
    mirror = MIRRORS.call(name, lambda: kind.from_dict(dict(options), ledger=ledger, study=study))
    parts = ("ready", "start", "notify", "artifacts", "close")
    missing = [part for part in parts if not hasattr(mirror, part)]
    if missing:
        raise MIRRORS.broken(name, f"is no mirror: it has no {', '.join(missing)}")
    return _Apart(name, mirror)


class _Apart:
    """A plug-in's mirror that is called from a thread of its own: the study feels nothing that it does.

    Args:
        name: Name of the mirror.
        mirror: The mirror.
    """

    def __init__(self, name: str, mirror: Mirror) -> None:
        self.ready = threading.Event()
        self._name, self._mirror = name, mirror
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"mirror {name}", daemon=True)
        self._error, self._closed = "", False
        self._report: MirrorReport | None = None

    def start(self) -> None:
        self._calls.put(self._begin)
        self._thread.start()

    def notify(self) -> None:
        self._calls.put(self._mirror.notify)

    def artifacts(self, files: Mapping[str, Path]) -> None:
        self._calls.put(lambda: self._mirror.artifacts(files))

    def close(self, timeout: float) -> MirrorReport:
        """Say what is missing in a line of its own: what the others report is about MLflow."""
        if self._closed:
            return MirrorReport(0)
        self._closed = True
        self._calls.put(lambda: self._end(timeout))
        self._calls.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout + _SLACK_S)
        found = self._report
        if found is None and not self._error:
            _log.warning("mirror %r did not end in %g s", self._name, timeout)
        elif found is not None and (found.pending or found.errors):
            why = f" ({redact('; '.join(map(str, found.errors)))})" if found.errors else ""
            _log.warning("%s items are not in mirror %r yet%s", found.pending or "some", self._name, why)
        return MirrorReport(0)

    def _begin(self) -> None:
        self._mirror.start()
        self._mirror.ready.wait()

    def _end(self, timeout: float) -> None:
        found = self._mirror.close(timeout)
        if not isinstance(found, MirrorReport):
            raise TypeError("close() gave no MirrorReport")
        self._report = found

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - whatever a stranger's mirror does
                if not self._error:  # once: a mirror that is broken stays so
                    self._error = redact(MIRRORS.broken(self._name, f"failed: {words_of(error)}").message)
                    _log.warning("%s", self._error)
            self.ready.set()
        self.ready.set()


class Mirrors:
    """Several mirrors as one.

    Args:
        mirrors: The mirrors.
    """

    def __init__(self, mirrors: Sequence[Mirror]) -> None:
        self.ready: threading.Event = threading.Event()
        self._mirrors = mirrors

    def start(self) -> None:
        """Begin to copy to all of them."""
        for mirror in self._mirrors:
            mirror.start()
        threading.Thread(target=self._wait, name="mirrors", daemon=True).start()

    def _wait(self) -> None:
        for mirror in self._mirrors:
            mirror.ready.wait()
        self.ready.set()

    def notify(self) -> None:
        """Say to each that the ledger has changed."""
        for mirror in self._mirrors:
            mirror.notify()

    def artifacts(self, files: Mapping[str, Path]) -> None:
        """Give each the study's files."""
        for mirror in self._mirrors:
            mirror.artifacts(files)

    def close(self, timeout: float) -> MirrorReport:
        """End all of them, each in at most ``timeout`` seconds."""
        found = [mirror.close(timeout) for mirror in self._mirrors]
        errors = tuple(error for report in found for error in report.errors)
        return MirrorReport(sum(report.pending for report in found), errors)
