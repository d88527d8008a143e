"""The command that shows the flags of a server, and what changed in an installed one."""

from __future__ import annotations

from pathlib import Path

import click

from autotune.cli.options import json_option
from autotune.cli.output import echo, echo_json
from autotune.cli.written import check_output, write_output
from autotune.errors import SpecError, did_you_mean


@click.command()
@click.argument("server")
@click.option(
    "--installed",
    metavar="PROGRAM",
    help="Ask an installed server instead and say what drifted: the Python that has it, or its program.",
)
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Write the table to a file.")
@json_option
def flags(server: str, installed: str | None, write: Path | None, as_json: bool) -> int:
    """Show the flags of SERVER that a study may use.

    Those that are "owner only" a study's own file may set, and a search space may not.
    With --installed, compare them with an installed server: 0 if nothing drifted, 1 if something did.
    """
    from autotune.core.cells import cut
    from autotune.systems.owner_only import UNCLASSED, FlagClasses, flag_classes
    from autotune.systems.served.drift import HELP, PROBED, drift
    from autotune.systems.served.drift import installed as ask
    from autotune.systems.served.flags import table

    if write is not None:
        check_output(write, "--write")
    known = (*PROBED, *HELP)
    if server not in known:
        raise SpecError(
            f"no flags are known of {server!r}; allowed: {', '.join(known)}", hint=did_you_mean(server, known)
        )
    shipped = table(server)
    reason = (flag_classes(server) or FlagClasses()).reason
    shown = shipped if installed is None else ask(server, installed)
    if write is not None:
        write_output(write, shown.to_json(), "--write")
    if installed is None:
        if as_json:
            echo_json(
                {
                    name: {
                        "flag": f.flag,
                        "kind": f.kind,
                        "default": f.default,
                        "owner_only": reason(name),
                    }
                    for name, f in shown.flags.items()
                }
            )
            return 0
        echo(f"{server} {shown.version}, from {shown.source}")
        size = max(len(name) for name in shown.flags)
        for name, flag in sorted(shown.flags.items()):
            default = "" if flag.default is None else f" [{flag.default}]"
            owner = f"  owner only: {reason(name)}." if reason(name) else ""
            echo(cut(f"{name.ljust(min(size, 40))}  {flag.kind}{default}{owner}  {flag.help}".rstrip(), 100))
        return 0
    changes = drift(shipped, shown)
    if as_json:
        echo_json({"shipped": shipped.version, "installed": shown.version, "changes": changes})
    else:
        echo(f"{server}: {shipped.version} shipped, {shown.version} installed, {len(changes)} changes")
        for line in changes:
            echo(f"  {line}")
        unclassed = [name for name in shown.flags if reason(name) == UNCLASSED]
        if unclassed:
            echo(f"to be classed before a search space may set them: {', '.join(unclassed)}")
    return 1 if changes else 0
