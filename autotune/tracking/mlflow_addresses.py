"""Where the store of an address lies, and where its artifacts do: no library, no network."""

from __future__ import annotations

from pathlib import Path

ARTIFACTS = "mlartifacts"
"""Folder beside a database in which its artifacts lie."""


def database_file(tracking_uri: str) -> Path | None:
    """Return the absolute path of a store that is a file on this machine; ``None`` for any other."""
    scheme, _, rest = tracking_uri.partition(
        ":///"
    )  # three slashes lead to a relative path, four to an absolute
    name = rest.partition("?")[0]
    if (
        not scheme.startswith("sqlite")
        or not name.strip("/")
        or name == ":memory:"
        or name.startswith("file:")
    ):
        return None
    return Path(name).absolute()


def opened_address(tracking_uri: str) -> str:
    """Return the address under which MLflow opens a store: absolute, where it is a file on this machine.

    A process keeps the store of each address, a relative one with the working folder of its first use.
    """
    file = database_file(tracking_uri)
    if file is None or "?" in str(file):  # an address cannot have that in a path
        return tracking_uri
    scheme, _, rest = tracking_uri.partition(":///")
    return f"{scheme}:///{file}{rest[len(rest.partition('?')[0]) :]}"


def artifact_location(tracking_uri: str, experiment: str) -> str | None:
    """Return where a new experiment keeps its artifacts: beside its database; a server decides."""
    file = database_file(tracking_uri)
    if file is None:
        return None
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in experiment)
    return (file.parent / ARTIFACTS / safe).as_uri()


def relative_artifacts(tracking_uri: str, location: str) -> str | None:
    """Return the place of artifacts relative to the working folder; ``None`` if the store's is absolute."""
    file = database_file(tracking_uri)
    named = tracking_uri.partition(":///")[2].partition("?")[0]
    if file is None or Path(named).is_absolute():
        return None
    return (Path(named).parent / ARTIFACTS / Path(location).name).as_posix()
