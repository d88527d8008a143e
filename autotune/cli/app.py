"""The ``autotune`` command: its group, and the one place where errors become exit codes.

Exit codes: 0 done, 1 something got worse or differs (verify, flags), 2 usage or spec, 3 environment,
4 nothing feasible, 5 interrupted and resumable, 6 internal.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

import click

from autotune import __version__
from autotune.cli.output import SAID, echo, echo_error, echo_json
from autotune.core.redact import redact, visible
from autotune.errors import AutotuneError, Interrupted, did_you_mean, shortened, words_of

USAGE, INTERNAL = 2, 6

_COMMANDS = {
    # name -> module:attribute, in the order of the help
    "init": "autotune.cli.init:init",
    "run": "autotune.cli.study:run",
    "resume": "autotune.cli.study:resume",
    "submit": "autotune.cli.submit:submit",
    "stop": "autotune.cli.stop:stop",
    "check": "autotune.cli.plan:check",
    "measure": "autotune.cli.plan:measure",
    "sweep": "autotune.cli.sweep:sweep",
    "status": "autotune.cli.show:status",
    "best": "autotune.cli.show:best",
    "report": "autotune.cli.report:report",
    "export": "autotune.cli.export:export",
    "verify": "autotune.cli.verify:verify",
    "compare": "autotune.cli.verify:compare",
    "list": "autotune.cli.show:list_",
    "new": "autotune.cli.new:new",
    "flags": "autotune.cli.flags:flags",
    "convert": "autotune.cli.convert:convert",
    "import": "autotune.cli.import_:import_",
    "sync": "autotune.cli.mirror:sync",
    "restore": "autotune.cli.mirror:restore",
    "salvage": "autotune.cli.salvage:salvage",
    "ui": "autotune.cli.mirror:ui",
    "doctor": "autotune.cli.doctor:doctor",
    "completion": "autotune.cli.completion:completion",
    "make-model": "autotune.cli.model:make_model",
    "version": "autotune.cli.show:version",
}


class Commands(click.Group):
    """A group of commands; the module of one is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or ``None``."""
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one names those that exist and the nearest."""
        name = args[0] if args else ""
        if not name.startswith("-") and name not in _COMMANDS:
            error = click.UsageError(f"unknown command {name!r}; allowed: {', '.join(_COMMANDS)}", ctx)
            error.hint = did_you_mean(name, _COMMANDS)  # type: ignore[attr-defined]
            raise error
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=False,
)
@click.version_option(__version__, prog_name="autotune", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
@click.option("-v", "--verbose", is_flag=True, help="Show the log of what happens inside.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, verbose: bool) -> None:
    """Find the best way to serve a model, in few trials, with numbers one can trust.

    Start with `autotune run MODEL` or `autotune run FILE`; `autotune doctor` says what works on this
    machine.
    """
    ctx.obj = {"debug": debug}
    _log_to_stderr(verbose)


class _Printable(logging.Formatter):
    """A formatter for a terminal: what it would obey, and secrets, stay out also of what others say."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return visible(redact(shortened(super().format(record))))


def _log_to_stderr(verbose: bool) -> None:
    log = logging.getLogger("autotune")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Printable("%(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO if verbose else logging.WARNING)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process when not given.
    """
    if argv is None and os.getpid() == 1:
        from autotune.cli.first_process import begin_child

        code = begin_child()
        if code is not None:
            return code
    args = list(sys.argv[1:] if argv is None else argv)
    if "_AUTOTUNE_COMPLETE" in os.environ:
        from autotune.cli.completion import answer

        return answer(cli, os.environ["_AUTOTUNE_COMPLETE"], args)
    with _stopped_by_signals(signal.SIG_IGN if argv is None else signal.SIG_DFL):
        return _run(args)


@contextmanager
def _stopped_by_signals(after: signal.Handlers) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, unless whoever started us decided otherwise.

    Args:
        after: Disposition afterwards; ignored where a process ends with its command: all is said, and the
            exit code stands, while libraries take their time to unload.
    """
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, after)


def _run(args: list[str]) -> int:
    as_json = "--json" in args
    try:
        return _invoke(args)
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        echo(error.format_message())
        return USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "autotune"
        hint = getattr(error, "hint", "") or f"see `{path} --help`"
        return _fail(_lower(error.format_message()), hint, USAGE, as_json)
    except click.ClickException as error:
        return _fail(_lower(error.format_message()), "", USAGE, as_json)
    except (KeyboardInterrupt, click.Abort):
        return _fail("stopped", "nothing that was measured is lost", Interrupted.exit_code, as_json)
    except AutotuneError as error:
        return _fail(error.message, error.hint, error.exit_code, as_json)
    except BrokenPipeError:
        # The reader has all it wanted (`| head`). Without this the interpreter complains when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    # the outermost door: whatever broke inside becomes exit code 6, also where a plug-in raises what is no
    # Exception or exits: nobody else may end a study as if it were done
    except BaseException as error:  # noqa: BLE001
        from autotune.core.dependencies import missing_dependency

        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # an argument is no path
            return _fail(f"{error.filename}: the name is too long for a file", "", USAGE, as_json)
        missing = missing_dependency(error)
        if missing is None:
            return _internal(error, args)
        return _fail(missing.message, missing.hint, missing.exit_code, as_json)


def _invoke(args: list[str]) -> int:
    said: dict[str, object] = {}
    try:
        with cli.make_context("autotune", list(args)) as context:  # click empties the list
            said = context.meta
            code = cli.invoke(context)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if SAID not in said:
            raise
        code = said[SAID]
    return code if isinstance(code, int) else 0


def _fail(message: str, hint: str, code: int, as_json: bool) -> int:
    message, hint = redact(shortened(message)), redact(shortened(hint))
    echo_error(message, hint)
    if as_json:
        echo_json({"error": {"message": message, "hint": hint, "exit_code": code}})
    return code


def _internal(error: BaseException, args: Sequence[str]) -> int:
    text = redact("".join(traceback.format_exception(error)))
    said = redact(words_of(error).splitlines()[0])
    if "--debug" in args:
        echo(text.rstrip(), sys.stderr)
        hint = ""
    else:
        hint = _save_traceback(text)
    return _fail(f"internal: {said}", hint, INTERNAL, "--json" in args)


def _save_traceback(text: str) -> str:
    """Write the traceback to a file; return the sentence that says where."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="autotune-error-", suffix=".txt", delete=False
        ) as file:
            file.write(text)
    except OSError as problem:
        return f"the traceback could not be written ({problem}); repeat with `autotune --debug ...`"
    return f"this is a mistake in autotune; the traceback is in {file.name}"


def _lower(message: str) -> str:
    """Return a message of click in our style: small first letter, no full stop."""
    text = message.strip().rstrip(".")
    return text[:1].lower() + text[1:]
