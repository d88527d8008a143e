"""Small HTML for notebooks: a titled table, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from autotune.core.redact import redact


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], note: str = "") -> str:
    """Return a table as HTML that needs nothing else; texts are escaped and without secrets.

    Args:
        title: Caption.
        header: Names of the columns; empty for a table without.
        rows: Cells by row, shown as text.
        note: Line below the table.
    """

    def cells(kind: str, texts: Sequence[object]) -> str:
        left = ' style="text-align: left"'
        return "".join(f"<{kind}{left}>{_text(text)}</{kind}>" for text in texts)

    head = f"<thead><tr>{cells('th', header)}</tr></thead>" if header else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    below = f"<p>{_text(note)}</p>" if note else ""
    return (
        f'<table border="0"><caption style="text-align: left"><b>{_text(title)}</b></caption>'
        f"{head}<tbody>{body}</tbody></table>{below}"
    )


def _text(text: object) -> str:
    return escape(redact(str(text))).replace("\n", "<br>")


def short(text: str, most: int = 160) -> str:
    """Return a text on one line of at most so many characters, for a ``repr``."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
