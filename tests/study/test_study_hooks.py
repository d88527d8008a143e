"""Hooks of a study: real receivers that answer, fail, hang or are not there, and what they cost."""

import asyncio
import hashlib
import hmac
import json
import threading
import time
import tracemalloc
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import autotune
from autotune.core.redact import MASK
from autotune.errors import EnvironmentProblem, SpecError
from autotune.spec.hooks import Hook, read_hooks
from autotune.study import hooks as module
from autotune.study.hook_delivery import NotDelivered
from autotune.study.hook_delivery import call as deliver
from autotune.study.study_file import read_study
from tests_shared import wait_until

SPACE = autotune.Space([autotune.Int("size", 1, 8)])
GOAL = {"maximize": "speed"}


class Server(ThreadingHTTPServer):
    """A receiver that answers as its list says, then with 200; it keeps what it got."""

    daemon_threads = True

    def __init__(self, answers=()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.got = list(answers), []
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/hook?team=a"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def events(self):
        return [json.loads(body) for _, _, body in self.got]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, dict(self.headers), body))
        status = server.answers.pop(0) if server.answers else 200
        if status == "hang":
            server.release.wait(60)
            return
        self.send_response(status)
        if status == 302:
            self.send_header("Location", server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(*answers):
        servers.append(Server(answers))
        return servers[-1]

    yield start
    for server in servers:
        server.release.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(module, "FLUSH_S", 5.0)


def tuned(on, function=lambda config: {"speed": float(config["size"])}, trials=3, **more):
    return autotune.tune(SPACE, function, GOAL, trials=trials, engine="random", on=on, progress=False, **more)


def test_trials_and_the_end_are_posted_in_order(serve):
    server = serve()
    study = tuned({"trial": [server.url], "end": server.url})
    trials = [event for event in server.events() if event["event"] == "trial"]
    assert [event["trial"]["number"] for event in trials] == [0, 1, 2]
    assert server.got[0][0] == "/hook?team=a"
    last = trials[-1]
    best = max(study.trials, key=lambda trial: trial.config["size"])
    assert last["best"]["number"] == best.number
    assert last["trial"]["config"] == study.trials[2].config
    assert last["trial"]["metrics"]["speed"]["value"] == study.trials[2].metrics["speed"].value
    assert last["text"].startswith("study: trial 2: speed ")
    assert "best so far: trial" in last["text"]
    (end,) = [event for event in server.events() if event["event"] == "end"]
    assert (end["study"], end["state"]) == ("study", "completed")
    assert end["best"]["config"] == best.config
    assert end["verdict"]["text"] in end["text"]
    assert end["report"] is None  # a study in memory has none


def test_a_post_is_signed_with_a_secret_that_stands_nowhere(serve, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "a secret of many letters")
    server = serve()

    def fails(config):
        raise autotune.Infeasible("refused: a secret of many letters", "rejected_flags")

    tuned({"trial": [{"url": server.url, "secret_variable": "HOOK_SECRET"}]}, fails, trials=1)
    assert server.got
    for _, headers, body in server.got:
        signed = headers["X-Autotune-Timestamp"].encode() + b"." + body
        wanted = hmac.new(b"a secret of many letters", signed, hashlib.sha256).hexdigest()
        assert headers["X-Autotune-Signature"] == f"sha256={wanted}"
        assert abs(int(headers["X-Autotune-Timestamp"]) - time.time()) < 60
        assert b"secret of many letters" not in body
    assert MASK in server.events()[0]["trial"]["failure"]["message"]


def test_what_fails_for_a_while_is_sent_again_with_one_identity(serve):
    server = serve(500, 429, 503)
    tuned({"end": [server.url]})
    assert len(server.got) == 4
    assert len({event["id"] for event in server.events()}) == 1


@pytest.mark.parametrize(
    ("status", "said"), [(404, "HTTP 404"), (302, "HTTP 302, a redirect, which is not followed")]
)
def test_a_refusal_is_final_and_said_without_the_path_of_the_address(serve, caplog, status, said):
    server = serve(status)
    tuned({"end": [server.url]})
    assert len(server.got) == 1
    assert f"1 of 1 event not delivered to http://127.0.0.1:{server.server_port}: {said}" in caplog.text
    assert "team" not in caplog.text


def test_a_hanging_and_a_dead_receiver_cost_the_study_nothing(serve, monkeypatch, caplog):
    monkeypatch.setattr(module, "FLUSH_S", 2.0)
    hanging, closed, well = serve(*["hang"] * 20), serve(), serve()
    closed.shutdown()
    closed.server_close()
    done_at = []
    study = tuned(
        {"trial": [hanging.url, closed.url, well.url]},
        trials=6,
        callbacks=[lambda study, trial: done_at.append(len(hanging.got))],
    )
    assert len(study.trials) == 6
    assert max(done_at) <= 1  # all six were measured while the first post hung
    assert [event["trial"]["number"] for event in well.events()] == list(range(6))
    assert caplog.text.count("6 of 6 events not delivered") == 2
    assert "ConnectionRefusedError" in caplog.text


def test_a_queue_is_bounded(serve, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    server = serve("hang")
    receiver = module.Receiver(Hook(url=server.url))
    receiver.put(lambda: {"event": "trial"})
    wait_until(lambda: server.got, 90)
    for _ in range(5):
        receiver.put(lambda: {"event": "trial"})
    assert receiver.taken == 6
    assert "more than 2 events waited" in receiver.lost
    receiver.begin_to_close(time.monotonic())


def speed(config):
    return {"speed": float(config["size"])}


def test_hooks_are_told_of_calls_on_ray_and_of_an_event_loops(serve, ray_cluster):
    server = serve()
    on = {"trial": server.url, "end": [server.url]}

    def told():
        return Counter(event["event"] for event in server.events())

    autotune.tune(SPACE, speed, GOAL, trials=3, engine="random", parallel=2, ray=True, on=on)
    assert told() == {"trial": 3, "end": 1}
    study = autotune.Study(SPACE, GOAL, engine="random")
    asyncio.run(study.tune_async(speed, trials=3, on=on))
    assert told() == {"trial": 6, "end": 2}
    study = autotune.Study(SPACE, GOAL, engine="random")
    asyncio.run(study.tune_async(speed, trials=3, parallel=2, ray=True, on=on))
    assert told() == {"trial": 9, "end": 3}
    assert {trial.metrics["speed"].value == trial.config["size"] for trial in study.trials} == {True}

    async def awaited(config):
        return 1.0

    with pytest.raises(SpecError, match="function is async"):
        asyncio.run(study.tune_async(awaited, ray=True))


def test_the_end_by_an_error_is_told_too(serve):
    server = serve()

    def broken(config):
        raise KeyError("speed")

    with pytest.raises(KeyError):
        tuned({"end": [server.url]}, broken)
    (event,) = server.events()
    assert event["state"] == "failed"
    assert "speed" in event["error"]

    def interrupted(config):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned({"end": [server.url]}, interrupted)
    assert server.events()[-1]["state"] == "interrupted"


def test_a_function_is_called_in_a_process_of_its_own(tmp_path, caplog):
    (tmp_path / "told.py").write_text(
        "import json, os, pathlib\n"
        "def at_end(event):\n"
        "    text = json.dumps({**event, 'pid': os.getpid()})\n"
        "    pathlib.Path(__file__).with_name('got.json').write_text(text)\n"
        "def broken(event):\n"
        "    raise ValueError('no room')\n"
    )
    file = tmp_path / "told.py"
    tuned({"end": [f"{file}:at_end", {"call": f"{file}:broken"}]})
    got = json.loads((tmp_path / "got.json").read_text())
    assert got["event"] == "end"
    assert got["pid"] != module.os.getpid()
    assert "1 of 1 event not delivered to" in caplog.text
    assert "ValueError: no room" in caplog.text


LOUD = """
import os, subprocess, sys, time
LINE = b"x" * 1000 + b"\\n"
def prints(event):
    for _ in range(32):
        os.write(1, LINE * 1000)
        os.write(2, LINE * 1000)
    if event:
        raise ValueError("no room\\non the disk" if event == [2] else "no room")
def hangs(event):
    sys.stderr.close()
    os.close(2)
    time.sleep(600)
def leaves(event):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"])
"""


def test_what_a_function_prints_takes_no_memory_of_the_study(tmp_path):
    (tmp_path / "loud.py").write_text(LOUD)
    hook = Hook(call=f"{tmp_path}/loud.py:prints")
    tracemalloc.start()
    try:
        deliver(hook, b"{}", 60.0)
        with pytest.raises(NotDelivered, match=r"^ValueError: no room$"):
            deliver(hook, b"[1]", 60.0)
        with pytest.raises(NotDelivered, match=r"^ValueError: no room on the disk$"):
            deliver(hook, b"[2]", 60.0)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_function_is_waited_for_until_its_time_and_what_it_leaves_behind_is_not(tmp_path):
    (tmp_path / "loud.py").write_text(LOUD)
    with pytest.raises(NotDelivered, match="did not return within 2 s"):
        deliver(Hook(call=f"{tmp_path}/loud.py:hangs"), b"{}", 2.0)
    began = time.monotonic()
    deliver(Hook(call=f"{tmp_path}/loud.py:leaves"), b"{}", 15.0)
    assert time.monotonic() - began < 15.0


ASYNC = """
import pathlib
def wrote(event):
    pathlib.Path(__file__).with_name("got.txt").write_text("yes")
class Awaitable:
    def __await__(self):
        wrote({})
        return iter(())
def awaitable(event):
    return Awaitable()
async def stream(event):
    wrote(event)
    yield 1
def steps(event):
    wrote(event)
    yield 1
"""


def test_what_a_function_returns_is_awaited_and_a_generator_is_an_error(tmp_path):
    (tmp_path / "later.py").write_text(ASYNC)
    for name in ("stream", "steps"):
        with pytest.raises(NotDelivered, match=f"later.py:{name} is a generator"):
            deliver(Hook(call=f"{tmp_path}/later.py:{name}"), b"{}", 60.0)
    assert not (tmp_path / "got.txt").exists()
    deliver(Hook(call=f"{tmp_path}/later.py:awaitable"), b"{}", 60.0)
    assert (tmp_path / "got.txt").read_text() == "yes"


TOLD = """
import asyncio, pathlib
def at_end(event):
    pathlib.Path(__file__).with_name("got.txt").write_text(event["event"])
async def waits(event):
    await asyncio.sleep(0)
    at_end(event)
"""


@pytest.mark.parametrize(
    "on",
    [
        "told:at_end",
        pytest.param("{call: 'told:waits'}", marks=pytest.mark.slow),
        "{call: 'told:at_end', folder: .}",
    ],
)
def test_a_module_beside_the_study_is_called_wherever_the_run_begins(tmp_path, toy_study, autotune_here, on):
    file = toy_study(budget="{trials: 1, confirm: 0}")
    (tmp_path / "deep").mkdir()
    moved = file.rename(tmp_path / "deep" / "toy.yaml")
    moved.write_text(moved.read_text() + f"on: {{end: {on}}}\n")
    (tmp_path / "deep" / "told.py").write_text(TOLD)
    done = autotune_here("run", moved, "--local", "--no-mlflow")
    assert "not delivered" not in done.stdout + done.stderr
    assert (tmp_path / "deep" / "got.txt").read_text() == "end"
    (tmp_path / "deep" / "told.py").write_text("")
    again = autotune_here("resume", "--local", "--no-mlflow", "--trials", "2", check=False)
    assert again.returncode == 2
    assert "told.py has no function" in again.stderr


def test_a_function_that_is_not_there_is_told_before_anything_is_measured(tmp_path):
    (tmp_path / "told.py").write_text(TOLD)
    with pytest.raises(SpecError, match=r"on\['end'\]\[0\]\['call'\]: .*told.py has no function 'at_edn'"):
        tuned({"end": [f"{tmp_path}/told.py:at_edn"]}, path=tmp_path / "l.sqlite")
    assert not (tmp_path / "l.sqlite").exists()


def test_a_function_that_is_to_travel_is_looked_for_before_a_study_is_submitted(
    tmp_path, toy_study, autotune_here
):
    (tmp_path / "told.py").write_text(TOLD)
    plain = toy_study().read_text()
    for call, code, said in (
        ("told.py:at_edn", 2, "told.py has no function 'at_edn'\n  did you mean 'at_end'?"),
        ("tlod.py:at_end", 2, "tlod.py'\n  did you mean 'told.py'?"),
        ("told:at_edn", 2, "told.py has no function 'at_edn'"),
        ("installed_there:at_end", 3, "the job server at"),
        ("/opt/there.py:at_end", 3, "the job server at"),
        ("told.py:at_end", 3, "the job server at"),
    ):
        (tmp_path / "toy.yaml").write_text(f"{plain}on: {{end: ['{call}']}}\n")
        done = autotune_here("submit", "toy.yaml", "--address", "http://127.0.0.1:9", check=False)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert ("unless the cluster has it" in done.stderr) == ("there" in call)


def test_an_address_may_stand_in_the_environment(serve, monkeypatch):
    server = serve()
    on = {"end": {"url_variable": "CHAT_ADDRESS"}}
    with pytest.raises(EnvironmentProblem, match="CHAT_ADDRESS of a hook under `on` is not set"):
        tuned(on)
    monkeypatch.setenv("CHAT_ADDRESS", "chat.example")
    with pytest.raises(SpecError, match="CHAT_ADDRESS holds no address"):
        tuned(on)
    monkeypatch.setenv("CHAT_ADDRESS", server.url)
    tuned(on)
    assert len(server.got) == 1


@pytest.mark.parametrize(
    ("on", "said"),
    [
        (["https://a.example"], "on must be a mapping"),
        ({"trials": []}, "unknown key 'trials'"),
        ({"end": ["a.example"]}, "must be an address or a function"),
        ({"end": ["ftp://a.example/x"]}, "must be an address such as https"),
        ({"end": ["https://me:word@a.example/x"]}, "is a secret"),
        ({"end": ["https://hooks.slack.com/services/T0/B0/x"]}, "is a secret"),
        ({"end": [{"url": "https://a.example", "call": "a:b"}]}, "found url and call"),
        ({"end": [{}]}, "found none of them"),
        ({"end": [{"call": "a:b", "secret_variable": "S"}]}, "nothing is signed"),
        ({"end": [{"url": "https://a.example", "secret_variable": "no name"}]}, "name of a variable"),
        ({"end": [{"call": "a:b", "folder": "\ud800"}]}, "folder must be a path, found"),
        ({"end": [{"call": "a:b", "folder": "a\0b"}]}, "folder must be a path, found"),
        ({"end": [{"call": "a:b", "folder": "~no-such-user/x"}]}, "folder must be a path, found"),
    ],
)
def test_a_wrong_hook_has_one_error(on, said):
    with pytest.raises(SpecError, match=said):
        read_hooks(on)


def test_a_file_in_the_home_of_nobody_is_one_that_is_not_there(tmp_path):
    (hook,) = read_hooks({"end": ["~no-such-user/x.py:f"]}, tmp_path).end
    with pytest.raises(SpecError, match=r"cannot find '.*no-such-user/x.py'"):
        hook.refuse_absent()


def test_a_study_file_has_hooks_and_a_search_space_of_a_stranger_has_none(tmp_path, toy_study):
    file = toy_study()
    (tmp_path / "tell.py").write_text("def done(event): pass\n")
    file.write_text(file.read_text() + "on: {end: [tell.py:done, {url: 'https://a.example/x'}]}\n")
    spec = read_study(file)
    assert spec.hooks.end[0].call == f"{tmp_path}/tell.py:done"
    assert read_hooks(spec.to_dict()["on"]) == spec.hooks  # `resume` reads it back
    space = tmp_path / "space.yaml"
    space.write_text("parameters: {a: {type: bool}}\non: {end: ['tell.py:done']}\n")
    file.write_text(f"name: s\nspace: {space.name}\nsystem: {{use: command, argv: [echo, '{{a}}']}}\n")
    with pytest.raises(SpecError, match="unknown key 'on'"):
        read_study(file, trust_space=True)


@pytest.mark.usefixtures("with_report")
def test_a_run_tells_what_its_file_and_its_command_name(serve, toy_study, autotune_here):
    server, named = serve(), serve()
    file = toy_study(budget="{trials: 2, confirm: 0}")
    file.write_text(file.read_text() + f"on: {{trial: ['{server.url}'], end: ['{server.url}']}}\n")
    done = autotune_here("run", file, "--local", "--no-mlflow", "--notify", named.url)
    assert "not delivered" not in done.stdout + done.stderr
    assert [event["event"] for event in server.events()].count("trial") == 2
    (end,) = named.events()
    assert end["deploy"]
    assert f"deploy: {' '.join(end['deploy'])}"[:20] in end["text"]
    assert end["state"] == "completed"
    assert Path(end["report"]).is_file()


def test_the_time_of_an_event_is_when_it_happened(serve, monkeypatch):
    server, times = serve(), iter(["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"])
    monkeypatch.setattr(module, "stamp", lambda: next(times))
    receiver = module.Receiver(Hook(url=server.url))
    for number in range(2):
        receiver.put(lambda number=number: {"event": "trial", "time": "later", "number": number})
    receiver.begin_to_close(time.monotonic() + 5)
    receiver.close()
    assert [event["time"] for event in server.events()] == ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"]


def test_no_file_of_the_working_folder_takes_the_place_of_what_a_hook_imports(tmp_path, monkeypatch):
    for name in ("autotune", "json", "asyncio", "queue"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the folder')\n")
    (tmp_path / "tell.py").write_text("def done(event): open('told', 'w').write(event['event'])\n")
    monkeypatch.chdir(tmp_path)
    deliver(Hook(call="tell:done", folder=str(tmp_path)), b'{"event": "end"}', 60.0)
    assert (tmp_path / "told").read_text() == "end"
