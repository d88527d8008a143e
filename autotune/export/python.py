"""``python``: a module with the configuration, which starts the server where there is one."""

from __future__ import annotations

from autotune.export.base import Export, commented, no_command

_START = """\
if __name__ == "__main__":
    import os

    if FOLDER:
        os.chdir(FOLDER)
    os.execvpe(ARGV[0], ARGV, {**os.environ, **ENV})
"""
_SHOW = """\
if __name__ == "__main__":
    import json

    print(json.dumps(CONFIG))
"""


class PythonModule:
    """A module of constants: ``CONFIG``, and ``ARGV``, ``ENV``, ``FOLDER`` and ``REQUEST`` of a command."""

    def refuses(self, export: Export) -> str:
        """Return nothing: every configuration has values."""
        return ""

    def export(self, export: Export) -> str:
        """Return the module; run as a program it becomes the command, or prints the configuration."""
        deployment = export.deployment
        values: dict[str, object] = {"CONFIG": dict(export.config)}
        starts = deployment is not None and not no_command(export)
        if starts and deployment is not None:
            values |= {
                "ARGV": list(deployment.argv),
                "ENV": dict(deployment.env),
                "FOLDER": deployment.folder,
            }
        if deployment is not None and deployment.request:
            values["REQUEST"] = deployment.request
        constants = "\n".join(f"{name} = {_literal(value)}" for name, value in values.items())
        return commented(export, f"\n{constants}\n\n\n{_START if starts else _SHOW}")


def _literal(value: object) -> str:
    """Return a value as Python writes it, what is in a list or a mapping on lines of their own."""
    if isinstance(value, dict) and value:
        lines = [f"    {key!r}: {item!r},\n" for key, item in value.items()]
        return "{\n" + "".join(lines) + "}"
    if isinstance(value, list) and value:
        return "[\n" + "".join(f"    {item!r},\n" for item in value) + "]"
    return repr(value)
