"""Errors that a user can meet, each with the exit code that the command line returns for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import ClassVar

_LONGEST_QUOTE = 300  # characters of one text in a message; a path may have up to 4,096
_QUOTE_SHOWN = 200
_LONGEST_MESSAGE = 3000
_LONGEST_NAME = 200  # longer ones are compared with no others: that takes minutes
_SHORTEST_START = 3  # letters with which a name may be begun
_QUOTED = re.compile(
    rf"""(?<!\w)'(?:[^'\\\n]|\\.){{{_LONGEST_QUOTE},}}'|(?<!\w)"(?:[^"\\\n]|\\.){{{_LONGEST_QUOTE},}}\""""
    rf"""|(?<![^\s'"/])[^\s'"/]{{{_LONGEST_QUOTE},}}|(?<![^\s'"])[^\s'"]{{4097,}}"""
)
_BREAK = re.compile(r"[\s=:,;&?/(\[{]")  # where a text is cut, if anywhere: half a secret is not known as one


def shortened(text: str) -> str:
    """Return a message whose texts from files and programs have a length that a person reads.

    A quoted text, and one without a space, shows at most its first 200 characters and how many it has; a
    message that is still longer than 3,000 likewise.
    """
    if len(text) < _LONGEST_QUOTE:
        return text
    return _cut(_QUOTED.sub(_cut_quote, text), _LONGEST_MESSAGE)


def _cut_quote(match: re.Match[str]) -> str:
    """Return a text in a message cut; the punctuation after it belongs to the message."""
    text = match[0].rstrip(":;,.")
    return _cut(text, _LONGEST_QUOTE, _QUOTE_SHOWN) + match[0][len(text) :]


def words_of(error: BaseException) -> str:
    """Return what an error says, with its kind; one of a plug-in's may not know how to say itself."""
    try:
        return f"{type(error).__name__}: {error}"
    except (KeyboardInterrupt, Ended):
        raise
    except BaseException:  # noqa: BLE001 - a stranger's method
        return f"{type(error).__name__}: it cannot be shown"


def _cut(text: str, longest: int, shown: int = _LONGEST_MESSAGE) -> str:
    if len(text) < longest:
        return text
    quote = text[0] if text[0] == text[-1] and text[0] in "'\"" else ""
    end = max((match.end() for match in _BREAK.finditer(text, 1, shown)), default=shown)
    return f"{text[:end]}...{quote} ({len(text) - 2 * len(quote):,} characters)"


class AutotuneError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: Text: where, what was found, what is allowed; what it quotes is cut to a sensible length.
        hint: Advice; printed on a line of its own.
    """

    exit_code: ClassVar[int] = 6

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message: str = shortened(message)
        self.hint: str = shortened(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class SpecError(AutotuneError):
    """A mistake in what the user wrote: a file, an option or a value.

    Args:
        message: Finding, and what is allowed.
        path: Keys from the top of the document to the offending value, such as
            ``("parameters", "batch_size", "low")``; a reader that knows the text turns it into
            ``file:line:column``.
        at_key: Whether the key itself is at fault rather than its value.
        hint: Advice, such as the nearest valid name.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self, message: str, *, path: tuple[str | int, ...] = (), at_key: bool = False, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.at_key = at_key


class StopStudy(Exception):
    """The end of the search of :func:`autotune.tune`; raised by a callback, with the reason as its text."""


class UnitError(SpecError):
    """A measured value whose unit is unknown or of another dimension than its metric's."""

    @property
    def line(self) -> str:
        """Message and hint on one line, for a failure's message."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class StudyError(AutotuneError):
    """A call that the state of the study does not allow (unknown study, changed space)."""

    exit_code: ClassVar[int] = 2


class EnvironmentProblem(AutotuneError):
    """A lack of something that the work needs of this machine: a package, memory, a cluster."""

    exit_code: ClassVar[int] = 3


class LedgerError(AutotuneError):
    """A ledger that cannot be trusted or written, naming the damaged row where there is one."""

    exit_code: ClassVar[int] = 3


class EmptyLedgerError(LedgerError):
    """A ledger in which no study was started yet, as while another process makes it."""


class NewerLedgerError(LedgerError):
    """A ledger of a newer version, which may well be whole."""


class DamagedCopyError(LedgerError):
    """A copy of a ledger that is not whole, or none."""


class NothingFeasible(AutotuneError):
    """The absence of any measured configuration that meets every limit."""

    exit_code: ClassVar[int] = 4


class Ended(SystemExit):
    """The end of a process by a signal: no plug-in's doing, as another exit may be."""


class Interrupted(AutotuneError):
    """The stop, by its user, of a study that can be resumed."""

    exit_code: ClassVar[int] = 5


@contextmanager
def under(*path: str | int) -> Iterator[None]:
    """Put keys in front of the path of a :class:`SpecError` that is raised inside."""
    try:
        yield
    except SpecError as error:
        error.path = (*path, *error.path)
        raise


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the nearest allowed name, or an empty string.

    Args:
        found: The name that was written.
        allowed: The names that exist.
    """
    names = [name for name in allowed if isinstance(name, str) and len(name) <= _LONGEST_NAME]
    if not isinstance(found, str) or len(found) > _LONGEST_NAME:
        return ""
    near = get_close_matches(found, names, n=1, cutoff=0.6)
    if not near:  # case and separators are the usual slips, and they can fool the ratio on short names
        folded = {name.lower().replace("-", "_"): name for name in names}
        near = get_close_matches(found.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
        near = [folded[name] for name in near]
    if not near and len(found) >= _SHORTEST_START:
        near = [name for name in names if name.startswith(found) or _numeronym(found) == name]
    return f"did you mean {near[0]!r}?" if near else ""


def _numeronym(word: str) -> str:
    """Return such as ``k8s`` for ``kubernetes``."""
    return f"{word[0]}{len(word) - 2}{word[-1]}"


def refuse_unknown_keys(
    data: Iterable[str], allowed: Iterable[str], what: str = "", path: tuple[str | int, ...] = ()
) -> None:
    """Raise :class:`SpecError` for the first key that is not allowed, with the nearest that is.

    Args:
        data: The mapping, or its keys.
        allowed: The keys that exist.
        what: Owner of the keys, for the message: ``a budget``.
        path: Path of the mapping.
    """
    names = list(allowed)
    for key in data:
        if key not in names:
            place = f" in {what}" if what else ""
            raise SpecError(
                f"unknown key {key!r}{place}; allowed: {', '.join(names)}",
                path=(*path, key),
                at_key=True,
                hint=did_you_mean(str(key), names),
            )
