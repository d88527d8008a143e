"""Where secrets lie in bytes: found in linear time, whatever a program prints.

Each pattern starts with a literal, which the interpreter looks for at the speed of memory, and goes on with
runs that cannot overlap: no byte is looked at more than a fixed number of times. The run that ends a secret
is taken after the pattern has matched, and never twice. (RE2 would give the same bound; it is not worth a
compiled dependency for eight patterns.)

A known value is looked for in a copy without spaces, line ends and backslashes, with escapes decoded: only
where that holds it, the place is sought in the bytes themselves.

What no reader sees (colour codes, other control characters, marks without width) may stand anywhere in a
secret: where there is any, all is looked for once more without it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from autotune.core.unseen import without_unseen

_SQUEEZED = b" \t\r\n\\"
_LINE_END = rb"\\?(?:\r\n?|\n)[ \t]{0,200}"
_BREAK = rb"(?:" + _LINE_END + rb")?"  # a line's end inside a value, with the next line's indentation
_LONGEST = 4096  # characters of a value whose encoded forms are looked for

Pattern = re.Pattern[bytes]


@dataclass(frozen=True, slots=True)
class Span:
    """Place of a secret in a text.

    Args:
        start: Offset of its first byte.
        end: Place behind its last byte.
        tail: Bytes it may go on with, where it ends with the bytes at hand.
    """

    start: int
    end: int
    tail: Pattern | None = None


@dataclass(frozen=True)
class _Form:
    """A form that secrets have.

    Args:
        needles: Texts without any of which there is none; where they are left out, the head itself is as
            fast.
        head: Pattern up to the secret's first byte, or with the literal that it begins with.
        tail: The rest of it.
        whole: Whether what the head matched is part of the secret.
        lower: Whether the head is looked for in lower case.
        fits: Whether what stands before the head allows it.
    """

    needles: tuple[bytes, ...]
    head: Pattern
    tail: Pattern
    whole: bool = False
    lower: bool = True
    fits: Callable[[bytes, int], bool] = lambda data, start: True


_WORD = re.compile(rb"[A-Za-z0-9_\x80-\xff]\Z")
_ESCAPED = re.compile(rb"(?:%[0-9A-Fa-f]{2}|\\[nrtbf]|\\u[0-9A-Fa-f]{4})\Z")
_KEY = re.compile(rb"(?:api|access|private|secret)[_-]?\Z")


def _begins(data: bytes, start: int) -> bool:
    before = data[max(0, start - 6) : start]
    return not _WORD.search(before) or _ESCAPED.search(before) is not None


def _is_key(data: bytes, start: int) -> bool:
    return _KEY.search(data[max(0, start - 8) : start]) is not None


_SECRETS = (b"token", b"secret", b"password", b"passwd")
_ASSIGNED = rb"""\\?["']?\s*(?:[=:]|%3[ad])\s*\\?["']?(?=[^\s"',;]{6})"""
_VALUE = re.compile(rb"""(?:[^\s"',;:\\]|\\(?!["'])|:(?!\s))+""")  # a colon before a space is a sentence's
_OPTION = re.compile(rb"(?:^|[^a-z0-9_-])--?(?:[a-z0-9]{1,20}[_-]){0,4}\Z")
_FOLLOWS = rb"""[ \t]{1,8}(?=[^\s"',;]{8})(?=[^\s"',;]{0,64}[0-9])"""  # no word of a sentence on an option


def _is_option(data: bytes, start: int) -> bool:
    return _OPTION.search(data[max(0, start - 96) : start]) is not None


def _given(name: bytes) -> _Form:
    """Return the form of what follows an option in a command line, as in ``--password ...``."""
    return _Form((name,), re.compile(name + _FOLLOWS), _VALUE, fits=_is_option)


def _assigned(name: bytes, fits: Callable[[bytes, int], bool] | None = None) -> _Form:
    found = _Form((name,), re.compile(name + _ASSIGNED), _VALUE)
    return found if fits is None else _Form(found.needles, found.head, found.tail, fits=fits)


def _token(start: bytes, letters: bytes, least: int, needles: tuple[bytes, ...]) -> _Form:
    """Return the form of an issuer's tokens; a line may end in what is too short to be one.

    Args:
        start: Pattern that they begin with.
        letters: Class of the rest.
        least: Letters that there are at least, or 16 on a line of their own.
        needles: Texts without any of which there is none, as of a form.
    """
    broken = rb"%b{0,%d}%b(?=%b{16})" % (letters, least - 1, _LINE_END, letters)
    head = re.compile(rb"%b(?:(?=%b{%d})|%b)" % (start, letters, least, broken))
    return _Form(needles, head, re.compile(letters + b"+"), whole=True, lower=False, fits=_begins)


KNOWN_FORMS = (
    _token(b"hf_", b"[A-Za-z0-9]", 16, (b"hf_",)),
    _token(b"sk-", b"[A-Za-z0-9_-]", 16, (b"sk-",)),
    _token(b"gh[pousr]_", b"[A-Za-z0-9]", 20, ()),
    _Form((b"AKIA",), re.compile(rb"AKIA(?=[0-9A-Z]{16}(?![A-Za-z0-9_]))"), re.compile(rb"[0-9A-Z]{16}"),
          whole=True, lower=False, fits=_begins),
    _Form((b"bearer",), re.compile(rb"bearer(?:\s+|%20)(?=[a-z0-9._~+/=-]{8})"),
          re.compile(rb"[A-Za-z0-9._~+/=-]+")),
    _Form((b"://",), re.compile(rb"://[^/\s:@]+:(?=[^/\s@]+@)"), re.compile(rb"[^/\s@]+"), lower=False),
)  # fmt: skip
"""Secrets beyond doubt: tokens of known issuers, ``Bearer ...``, a password inside a URL."""

NAMED_FORMS = (
    *(_assigned(name) for name in _SECRETS),
    _assigned(b"key", _is_key),
    *(_given(name) for name in (*_SECRETS, b"api-key", b"api_key")),
)
"""What is given to a name that sounds like a secret's: ``token=...``, ``--token ...``."""

ALL_FORMS = (*KNOWN_FORMS, *NAMED_FORMS)


class KnownValues:
    """Known secrets, and their forms in percent escapes, JSON escapes, base64 and over lines."""

    def __init__(self, values: Sequence[str]) -> None:
        self.forms = [form for value in values for form in _forms(value)]

    @cached_property
    def _needles(self) -> list[tuple[bytes, bytes]]:
        plain = [form.encode("utf-8", "surrogatepass") for form in self.forms]
        return [(value, value.translate(None, _SQUEEZED) or value) for value in plain]

    def spans(self, data: bytes) -> Iterator[Span]:
        """Give where a value lies in any of its forms."""
        if not self.forms:
            return
        squeezed, decoded = _copies(data)
        for form, (value, needle) in zip(self.forms, self._needles, strict=True):
            if needle not in decoded and (b"%" not in needle or needle not in squeezed):
                continue
            found = list(_occurrences(data, value))
            most = max(squeezed.count(needle), decoded.count(needle))
            if len(found) < most and len(form) <= _LONGEST:
                found += [Span(m.start(), m.end()) for m in _any_form(form).finditer(data)]
            yield from found


@lru_cache(maxsize=4)
def known_values(values: tuple[str, ...]) -> KnownValues:
    """Return the known values, with what was prepared for them."""
    return KnownValues(values)


def spans_of(data: bytes, known: KnownValues, forms: Sequence[_Form] = ALL_FORMS) -> list[Span]:
    """Return where secrets lie, ascending and apart.

    Args:
        data: Text in UTF-8, or anything else.
        known: Values that are secrets.
        forms: Forms that secrets have.
    """
    found = [*_spans(data, known, forms), *_hidden_spans(data, known, forms)]
    joined: list[Span] = []
    for span in sorted(found, key=lambda span: (span.start, span.end)):
        if joined and span.start <= joined[-1].end:
            if span.end > joined[-1].end:
                joined[-1] = Span(joined[-1].start, span.end, span.tail)
        else:
            joined.append(span)
    return joined


def _spans(data: bytes, known: KnownValues, forms: Sequence[_Form]) -> Iterator[Span]:
    yield from known.spans(data)
    lowered = data.lower() if forms else b""
    for form in forms:
        yield from _of_form(data, lowered, form)


def _hidden_spans(data: bytes, known: KnownValues, forms: Sequence[_Form]) -> Iterator[Span]:
    """Give where secrets lie that are whole only without what no reader sees."""
    seen, place = without_unseen(data)
    if len(seen) == len(data):
        return
    for span in _spans(seen, known, forms):
        if span.end > span.start:
            end = len(data) if span.end == len(seen) else place(span.end - 1) + 1
            yield Span(place(span.start), end, span.tail)


def masked(data: bytes, spans: Sequence[Span], mask: bytes) -> bytes:
    """Return the bytes with a mask in place of each span."""
    parts, done = [], 0
    for span in spans:
        parts += [data[done : span.start], mask]
        done = span.end
    return b"".join([*parts, data[done:]])


def _of_form(data: bytes, lowered: bytes, form: _Form) -> Iterator[Span]:
    where = lowered if form.lower else data
    if form.needles and not any(needle in where for needle in form.needles):
        return
    done = 0
    for match in form.head.finditer(where):
        if match.start() < done or not form.fits(where, match.start()):
            continue
        rest = form.tail.match(data, match.end())
        done = match.end() if rest is None else rest.end()
        yield Span(match.start() if form.whole else match.end(), done, form.tail)


def _occurrences(data: bytes, value: bytes) -> Iterator[Span]:
    at = data.find(value)
    while at >= 0:
        yield Span(at, at + len(value))
        at = data.find(value, at + len(value))


def _copies(data: bytes) -> tuple[bytes, bytes]:
    """Return the data without what may lie inside a value, and that with percent escapes decoded too."""
    if b"\\u" in data:
        data = re.sub(rb"\\u([0-9A-Fa-f]{4})", _of_code, data)
    squeezed = data.translate(None, _SQUEEZED)
    if b"%" not in squeezed:
        return squeezed, squeezed
    decoded, count = re.subn(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), squeezed)
    return squeezed, decoded.translate(None, _SQUEEZED) if count else squeezed


def _of_code(match: re.Match[bytes]) -> bytes:
    return chr(int(match[1], 16)).encode("utf-8", "surrogatepass")


def _forms(value: str) -> Iterator[str]:
    """Give the value itself and its base64, at each of the three places that bytes before it leave it in."""
    yield value
    if " " in value:
        yield value.replace(" ", "+")
    if "\n" in value:
        yield value.replace("\n", "\\n")
    if len(value) > _LONGEST:
        return
    plain = value.encode("utf-8", "surrogatepass")
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + plain).decode("ascii")
        whole = text[(0, 2, 3)[shift] : len(text) - (0, 3, 2)[(shift + len(plain)) % 3]]
        yield whole
        if "+" in whole or "/" in whole:
            yield whole.translate(str.maketrans("+/", "-_"))


@lru_cache(maxsize=64)
def _any_form(value: str) -> Pattern:
    """Return a pattern of the value with any of its characters escaped and line ends in it."""
    return re.compile(_BREAK.join(map(_any_character, value)))


def _any_character(character: str) -> bytes:
    plain = character.encode("utf-8", "surrogatepass")
    percent = b"".join(b"%%(?i:%02x)" % byte for byte in plain)
    code = b"" if ord(character) > 0xFFFF else rb"|\\{1,4}u(?i:%04x)" % ord(character)
    short = {"\n": rb"|\\n", "\r": rb"|\\r", "\t": rb"|\\t"}.get(character, b"")
    slash = b"" if character.isalnum() else rb"\\{0,4}"
    return rb"(?:%b%b|%b%b%b)" % (slash, re.escape(plain), percent, code, short)
