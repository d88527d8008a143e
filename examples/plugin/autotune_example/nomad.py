"""An export format: whether it makes sense for a configuration, and its text."""

from __future__ import annotations

import json

from autotune.export.base import Export, contained, no_container


class Nomad:
    """A job of HashiCorp Nomad, for `nomad job run FILE`."""

    def refuses(self, export: Export) -> str:
        """Return why there is no container; empty where there is one."""
        return no_container(export)

    def export(self, export: Export) -> str:
        """Return the job, where it comes from in comments above it."""
        found = export.container
        program, *words = map(_quoted, found.words)
        lines = [
            f"job {_quoted(export.name)} {{",
            '  group "server" {',
            '    task "server" {',
            '      driver = "docker"',
            "      config {",
            f"        image        = {_quoted(export.image)}",
            f"        entrypoint   = [{program}]",
            f"        args         = [{', '.join(words)}]",
            '        network_mode = "host"',
            "      }",
            "      env {",
            *(f"        {name} = {_quoted(text)}" for name, text in found.env.items()),
            "      }",
            "    }",
            "  }",
            "}",
        ]
        return contained(export, "\n".join(lines))


def _quoted(text: str) -> str:
    """Return a text as HCL has it, where ``${`` and ``%{`` begin an expression."""
    return json.dumps(text).replace("${", "$${").replace("%{", "%%{")
