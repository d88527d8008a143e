"""``args``: the command as a script of a shell."""

from __future__ import annotations

import shlex

from autotune.export.base import Export, commented, no_command


class Args:
    """The command with its variables, each flag on a line of its own."""

    def refuses(self, export: Export) -> str:
        """Return why there is nothing to start; empty where there is."""
        return no_command(export)

    def export(self, export: Export) -> str:
        """Return the command for `sh FILE`, or to be pasted."""
        deployment = export.deployment
        assert deployment is not None  # noqa: S101 - refused otherwise
        before = len(deployment.words) - len(deployment.argv) + 1  # variables, and the program
        lines = [deployment.words[:before]]
        for word in deployment.words[before:]:
            if word.startswith("-") and lines[-1][-1] != "--":
                lines.append([])
            lines[-1].append(word)
        command = " \\\n  ".join(map(shlex.join, lines))
        start = f"echo {shlex.quote(deployment.stdin)} | " if deployment.stdin else ""
        return commented(export, start + command)
