"""The live view on a real pseudo-terminal."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading

import pytest
from rich.console import Console

from autotune.report.live import LiveView, is_terminal, progress_text, render, status_lines
from tests_views import wide_view

COLOUR = re.compile(r"\x1b\[[0-9;]*?(3|4|9)[0-9]m")


class Terminal:
    """A pseudo-terminal whose output is read all the time, as a real one's is."""

    def __init__(self, columns=80, rows=24):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self._parts = []
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def _drain(self):
        while True:
            try:
                part = os.read(self.master, 65536)
            except OSError:  # EIO: the other side is closed
                return
            if not part:
                return
            self._parts.append(part)

    def close(self):
        self.stream.close()
        self._thread.join(10)
        os.close(self.master)
        return b"".join(self._parts).decode()


@pytest.fixture
def colours(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def drawn(view, width=80):
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, color_system=None).print(render(view, width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_drawing_keeps_to_the_width(make_view, width):
    lines = drawn(make_view(), width)
    assert max(len(line) for line in lines) < width


def test_the_drawing_says_what_matters(make_view):
    text = "\n".join(drawn(make_view()))
    assert len(text.splitlines()) <= 23
    assert "6/12 trials + 2 confirmations, 60 s, about 68 s left" in text
    assert "best    trial 4: 398 ± 17 tokens/s, vs default 12.5 times better" in text
    assert "running trial 8 for 10 s: batch_size=1" in text
    assert "failed  1 crashed under load, 1 worker lost" in text
    assert "4*  ok" in text


def test_the_drawing_keeps_to_the_height():
    view = wide_view(running=tuple((n, 1, 50_000_000_000) for n in range(4)))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    for height, rows in ((24, 3), (20, 1), (40, 8)):
        console.print(render(view, 80, height))
        drawn = console.file.getvalue().splitlines()
        console.file.seek(0)
        console.file.truncate()
        assert len(drawn) < height or height < 24
        assert sum(line.lstrip()[:1].isdigit() for line in drawn[5:]) >= rows
    assert "also varied" in "\n".join(drawn)


def test_the_drawing_of_an_empty_study(make_view):
    text = "\n".join(drawn(make_view((), running=(), budget_trials=None)))
    assert "0 trials, 60 s" in text


def test_progress_and_status_without_anything(make_view):
    view = make_view((), running=())
    assert progress_text(view) == "0/12 trials, 60 s"
    assert status_lines(view) == []


def test_nothing_feasible_is_said(make_view, trials):
    assert (
        "best",
        "no configuration keeps tpot.p95 <= 60 ms yet; the nearest, trial 2, is 20 % above",
    ) in status_lines(make_view(trials[2:4], running=()))


def test_why_the_search_ended_early_is_said(make_view):
    view = make_view(stopped="converged: at most 1 % is left (90 %)", running=())
    assert ("stopped", "converged: at most 1 % is left (90 %)") in status_lines(view)
    assert view.total == 7  # what was searched; the rest of the budget is not spent


@pytest.mark.usefixtures("colours")
def test_messages_and_the_end_stay_on_the_terminal(make_view):
    terminal = Terminal()
    view = LiveView(terminal.stream)
    view.message("making the model")
    view.start(make_view(()))
    view.update(make_view())
    view.message("trial 3: [bold]not markup[/bold] :smile:")
    view.finish(make_view(), "the end")
    text = terminal.close()
    assert "making the model" in text
    assert "trial 3: [bold]not markup[/bold] :smile:" in text
    assert COLOUR.search(text)
    assert text.rstrip().endswith("the end")
    assert "\x1b[?25h" in text  # the cursor is shown again


@pytest.mark.usefixtures("colours")
def test_no_color_is_respected(make_view, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    view = LiveView(terminal.stream)
    view.start(make_view())
    view.finish(make_view(), "the end")
    assert not COLOUR.search(terminal.close())


@pytest.mark.usefixtures("colours")
def test_equal_states_are_not_drawn_again_at_once(make_view):
    terminal = Terminal()
    view = LiveView(terminal.stream)
    view.start(make_view())
    for _ in range(50):
        view.update(make_view())
    view.finish(make_view(), "the end")
    assert terminal.close().count("8/14 trials") < 10


@pytest.mark.usefixtures("colours")
def test_a_terminal_that_was_closed_does_not_matter(make_view):
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w", encoding="utf-8")
    view = LiveView(stream)
    view.start(make_view(()))
    os.close(master)
    view.update(make_view())
    view.message("nobody reads this")
    view.finish(make_view(), "nor this")
    with contextlib.suppress(OSError):  # what was buffered when the terminal went away
        stream.close()


def test_what_is_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    closed = io.StringIO()
    closed.close()
    assert not is_terminal(closed)
    assert not is_terminal(io.StringIO())
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        assert is_terminal(stream)
        monkeypatch.setenv("TERM", "dumb")
        assert not is_terminal(stream)
    os.close(master)
