"""``env``: variables for ``. FILE`` in a shell, ``docker run --env-file`` apart: those take no quotes."""

from __future__ import annotations

import json
import re
import shlex

from autotune.export.base import Export, commented, no_command

PREFIX = "TUNED_"
"""Start of the variables that hold parameters: plain names such as PATH mean something already."""


class Env:
    """The variables of the launch, then every parameter, then all of them as JSON."""

    def refuses(self, export: Export) -> str:
        """Return nothing: every configuration has values."""
        return ""

    def export(self, export: Export) -> str:
        """Return a file for `set -a; . FILE`."""
        deployment = None if no_command(export) else export.deployment
        own = {} if deployment is None else dict(deployment.env)
        named = {f"{PREFIX}{re.sub(r'[^A-Z0-9]', '_', name.upper())}": name for name in export.config}
        values = {variable: _plain(export.config[name]) for variable, name in named.items()}
        found = {**own, **values, "AUTOTUNE_CONFIG": json.dumps(export.config)}
        return commented(export, "\n".join(f"{name}={shlex.quote(text)}" for name, text in found.items()))


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
