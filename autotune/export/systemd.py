"""``systemd``: a unit of a service."""

from __future__ import annotations

import math

from autotune.export.base import Export, commented, no_server


class Systemd:
    """A unit for `/etc/systemd/system` or `~/.config/systemd/user`."""

    def refuses(self, export: Export) -> str:
        """Return why there is no server; empty where there is one."""
        return no_server(export)

    def export(self, export: Export) -> str:
        """Return the unit."""
        deployment = export.deployment
        assert deployment is not None  # noqa: S101 - refused otherwise
        command = [_quoted(word.replace("$", "$$")) for word in deployment.argv]
        lines = [
            "[Unit]",
            f"Description=Inference server {export.name}",
            "Wants=network-online.target",
            "After=network-online.target",
            "",
            "[Service]",
            "Type=exec",
            *(f"Environment={_quoted(f'{name}={text}')}" for name, text in deployment.env.items()),
            *([f"WorkingDirectory={_quoted(deployment.folder)}"] if deployment.folder else []),
            f"ExecStart={' '.join(command)}",
            "Restart=on-failure",
            "RestartSec=5",
            f"TimeoutStartSec={math.ceil(export.startup_s)}",
            "",
            "[Install]",
            "WantedBy=default.target",
        ]
        return commented(export, "\n".join(lines))


def _quoted(text: str) -> str:
    r"""Return a text as one word of a unit: percent signs are specifiers, and ``\`` and ``"`` end it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    escaped = escaped.replace("\n", "\\n").replace("\t", "\\t")
    plain = escaped and not any(mark in escaped for mark in " \\\"';#{}[]")
    return escaped if plain else f'"{escaped}"'
