"""The type of plain data: what YAML, JSON, a ledger and a message between processes hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object (RFC 8259), or a mapping of YAML: plain data by key; whoever reads one checks it."""
