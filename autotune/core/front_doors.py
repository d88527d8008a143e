"""What stands behind the constructors from files of core's values: it is registered from above.

``core`` lies below all that reads files, and imports none of it. The package itself, which is imported before
any module of it, registers the readers; each is imported when it is first called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

READERS: dict[str, Callable[[str | Path], Any]] = {}
"""Reader of a file by the name of the class that it makes."""
