"""Names of studies and metrics of other tools as ours may be."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from autotune.core.parameter.base import check_name
from autotune.core.units import SCALED, known_base
from autotune.errors import SpecError
from autotune.spec.sections import read_objective

_LONGEST_NAME = 64
_LONGEST_METRIC = 120
_WORDS = {"min", "h", "d", "%"}  # `loss_min` is a minimum
_BRACKETED = re.compile(
    r"(?P<name>.*?\S)\s*(?:[(\[](?:in )?(?P<bracketed>[^()\[\]]+)[)\]]|,\s*(?P<after>[^,]+))", re.DOTALL
)


def study_name(written: str) -> str:
    """Return the name of a study that another tool calls ``written``, which is not blank.

    One that is cut, or of which letters are lost, gets a digest of the whole, so that two stay two.
    """
    letters = unicodedata.normalize("NFKD", written).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", letters).strip("-._")
    lost = any(c.isalnum() and not unicodedata.normalize("NFKD", c)[0].isascii() for c in written)
    if lost or not name or len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        name = f"{name[: _LONGEST_NAME - 9].rstrip('-._') or 'study'}-{digest}"
    return name


def metric_name(written: object) -> tuple[str, str]:
    """Return the name and the unit of a metric that another tool calls ``written``.

    ``Latency (ms)`` is ``Latency`` in ms: a unit in brackets at the end, after a comma or after the last
    underscore is one where this package knows it. The unit after an underscore stays in the name.
    """
    text = str(written).strip()
    unit = ""
    match = _BRACKETED.fullmatch(text)
    if match is not None and known_base(found := match["bracketed"] or match["after"]):
        text, unit = match["name"], found
    elif (last := text.rpartition("_")[2]) in SCALED - _WORDS:
        unit = last
    name = re.sub(r"[^\w./:@#%+-]+", "_", text)[:_LONGEST_METRIC]
    name = name if name == text else name.strip("_")
    if not name or not (name[0].isalpha() or name[0] == "_"):
        name = f"metric_{name}".rstrip("_")
    try:
        read_objective({"maximize": name})
    except SpecError:  # a name of ours for something else, or nearly one
        name = f"reported_{re.sub(r'[^A-Za-z0-9]', '_', name)}"
    return name, unit


def shown(text: object) -> str:
    """Return a name for a note, cut where it is long."""
    found = repr(text)
    return found if len(found) <= 80 else f"{found[:60]}... ({len(str(text))} characters)"


def printable(text: str) -> str:
    """Return a text in one line, without what a terminal or YAML would not show as it is."""
    return "".join(c if c.isprintable() else " " if c.isspace() else repr(c)[1:-1] for c in text)


def is_parameter_name(name: str) -> bool:
    """Return whether expressions can mention a parameter of this name."""
    try:
        check_name(name, "parameter")
    except SpecError:
        return False
    return True
