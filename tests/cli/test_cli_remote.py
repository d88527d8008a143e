"""``submit`` and ``--address`` from this side: what is sent to a head; the job server only answers."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from autotune.cli import on_head
from autotune.cli.app import main
from autotune.cli.remote import MARK, find_job, stop_job
from autotune.core.commands import shown_address
from autotune.errors import EnvironmentProblem, StudyError
from autotune.executor import ray_jobs
from autotune.executor.ray_jobs import JobServer, StudyJob, refuse_without_us
from tests_shared import serving_in_a_thread

TOKEN = "c" * 64
STUDY = """
name: chat
parameters: {x: {type: int, low: 1, high: 9, default: 6}}
system: {use: command, argv: [echo, "{x}"], metrics: stdout}
objective: {maximize: speed}
"""


class Jobs:
    """A job server whose head has one study that has ended and one that runs."""

    def __init__(self, address):
        self.address, self.sent, self.stopped = address, [], []
        self.jobs = [StudyJob("a", "alice", "chat-2", live=True)]
        self.stored = {"alice/chat": "ended"}

    def tidy(self):
        pass

    def stop(self, name):
        self.stopped.append(name)

    def studies(self):
        return self.jobs

    def submit(self, entrypoint, **about):
        self.sent.append((entrypoint, about))

    def output(self, name):
        return f"noise\n{MARK}" + json.dumps(["out", json.dumps({"studies": self.stored})])

    def exit_code(self, name):
        return 0

    def is_live(self, name):
        return False

    def wait_until_running(self, name, seconds):
        pass

    def wait_until_begun(self, name, seconds):
        pass


@pytest.fixture
def head(tmp_path, monkeypatch):
    """The job server that commands of this test reach, in a folder with a study."""
    server = Jobs("")
    monkeypatch.setattr(ray_jobs, "JobServer", lambda address: server)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    return server


@pytest.fixture
def jobs(head):
    """The jobs that commands of this test send, in a folder with a study."""
    return head.sent


def test_another_study_of_a_name_has_the_name_under_which_it_is_known_before_it_starts(jobs, capsys):
    assert main(["submit", "study.yaml", "--address", "http://h:1", "--owner", "alice", "--new"]) == 0
    entrypoint, about = jobs[-1]
    assert about["metadata"] == {"autotune_owner": "alice", "autotune_study": "chat-3"}
    assert about["variables"]["AUTOTUNE_STUDY"] == "chat-3"
    assert "--set name=chat-3" in entrypoint
    assert "--new" not in entrypoint
    assert "study alice/chat-3 is job alice-chat-3-" in capsys.readouterr().out


def test_what_an_address_holds_of_a_user_stays_here(jobs, capsys):
    secret = "https://ann:hunter2@h:1/ray"
    assert main(["submit", "study.yaml", "--address", secret, "--owner", "bob"]) == 0
    assert main(["list", "studies", "--address", secret]) == 0
    assert len(jobs) == 2
    assert "hunter2" not in f"{jobs}{capsys.readouterr()}"
    assert {about["variables"]["AUTOTUNE_SHOWN_ADDRESS"] for _, about in jobs} == {"https://h:1/ray"}
    assert shown_address("ann:pw@h:1") == "h:1"
    assert shown_address("http://h:1/a@b") == "http://h:1/a@b"


@pytest.mark.parametrize("words", [["submit", "study.yaml"], ["list", "studies"], ["stop", "chat"]])
def test_a_relative_store_on_another_machine_is_refused(jobs, capsys, words):
    assert main([*words, "--address", "http://h:1", "--store", "mystore"]) == 2
    assert "'mystore' names a folder of the head; allowed: absolute paths" in capsys.readouterr().err
    assert not jobs
    assert main([*words, "--address", "http://h:1", "--store", "/data/mystore"]) == 0
    assert jobs[-1][1]["variables"]["AUTOTUNE_STORE"] == "/data/mystore"


@pytest.mark.parametrize("words", [["stop"], ["status", "--follow"]])
@pytest.mark.parametrize("forgotten", [False, True])
def test_a_bare_name_never_reaches_one_of_several_owners_studies_though_only_one_runs(
    head, capsys, words, forgotten
):
    ended = [] if forgotten else [StudyJob("r", "root", "tiny", live=False)]
    head.jobs = [*ended, StudyJob("b", "bob", "tiny", live=True), StudyJob("t", "al", "tiny-2", live=True)]
    head.stored = {"root/tiny": "ended", "al/tiny-2": "running"}  # bob's has just begun
    address = ["--address", "http://h:1", "--store", "/data/x"]
    assert main([*words, "tiny", *address]) == 2
    assert "'tiny' could be any of these: bob/tiny, root/tiny" in capsys.readouterr().err
    assert [about["variables"]["AUTOTUNE_STORE"] for _, about in head.sent] == ["/data/x"] * forgotten
    assert not head.stopped
    if words == ["stop"]:
        assert main(["stop", "tiny-2", *address]) == main(["stop", "bob/tiny", *address]) == 0
        assert head.stopped == ["t", "b"]


def test_each_line_to_paste_has_the_store_and_the_owner(head, capsys):
    where = ["--address", "http://h:1", "--store", "/data/x"]
    told = " ".join(where)
    assert main(["submit", "study.yaml", "--owner", "bob", *where]) == 0
    assert f"`autotune status bob/chat --follow {told}` shows it" in capsys.readouterr().out
    assert head.sent[-1][1]["variables"]["AUTOTUNE_SHOWN_STORE"] == "/data/x"
    head.jobs = [StudyJob("b", "bob", "chat", live=True)]
    assert main(["submit", "study.yaml", "--owner", "bob", *where]) == 2
    said = capsys.readouterr().err
    assert (
        f"`autotune status bob/chat --follow {told}` shows it, `autotune stop bob/chat {told}` stops" in said
    )
    head.follow = lambda job: interrupted()
    assert main(["status", "bob/chat", "--follow", *where]) == 0
    assert f"; `autotune status bob/chat --follow {told}` shows it again" in capsys.readouterr().out
    assert main(["stop", "bob/chat", *where]) == 0
    again = f"`autotune submit FILE --owner bob --set name=chat {told}` goes on with it"
    assert again in capsys.readouterr().out
    assert main(["best", "bob/chat", *where]) == 0
    assert head.sent[-1][1]["variables"]["AUTOTUNE_SHOWN_STORE"] == "/data/x"
    assert main(["best", "bob/chat", "--address", "http://h:1"]) == 0
    assert not {"AUTOTUNE_SHOWN_STORE", "AUTOTUNE_STORE"} & set(head.sent[-1][1]["variables"])


def interrupted():
    yield "Running entrypoint for job b: run\n"
    raise KeyboardInterrupt


def test_a_bare_name_is_that_of_nobodys_study_and_not_of_somebodys_that_runs(head):
    head.jobs, head.stored = [StudyJob("b", "bob", "tiny", live=True)], {"tiny": "", "bob/tiny": ""}
    assert main(["stop", "tiny", "--address", "http://h:1"]) == 0
    assert not head.stopped
    assert head.sent[-1][0].endswith("stop -- tiny")  # given there


class _Guarded(BaseHTTPRequestHandler):
    def do_GET(self):
        given = self.headers.get("Authorization")
        self.server.given.append(given)
        code = 200 if given == f"Bearer {TOKEN}" else 403 if given else 401
        body = b'{"version": "4", "ray_version": "2.60.0"}' if code == 200 else b"Unauthorized: no token"
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """A server that wants a token, for somebody whose Ray is told nothing of it."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), _Guarded)) as server:
        server.given = []
        yield server


def test_a_token_is_sent_to_a_head_that_wants_one(guarded, tmp_path, monkeypatch, capsys):
    address = f"http://127.0.0.1:{guarded.server_port}"
    assert main(["list", "studies", "--address", address]) == 3
    said = capsys.readouterr().err
    assert "~/.ray/auth_token or RAY_AUTH_TOKEN, and RAY_AUTH_MODE unset" in said
    assert "redacted" not in said
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(f"{TOKEN}\n")
    JobServer(address)
    assert guarded.given[-1] == f"Bearer {TOKEN}"
    (tmp_path / ".ray" / "auth_token").unlink()
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    JobServer(address)
    assert guarded.given[-1] == f"Bearer {TOKEN}"


class _Starting(_Guarded):
    """A head whose job agent comes up after some requests; without a token."""

    def do_GET(self):
        del self.headers["Authorization"]  # of a cluster of other tests
        self.headers["Authorization"] = f"Bearer {TOKEN}"
        super().do_GET()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        ready = self.server.asked > self.server.late
        body = (
            b'{"job_id": "a", "submission_id": "a"}' if ready else b"No available agent to submit job, later."
        )
        self.send_response(200 if ready else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize(("late", "ready_s", "asked"), [(2, 600.0, 3), (0, 600.0, 1), (9, 0.0, 1)])
def test_a_head_whose_job_agent_is_not_up_yet_is_waited_for_and_said_so_once(
    monkeypatch, late, ready_s, asked
):
    monkeypatch.setattr(ray_jobs, "_READY_S", ready_s)
    monkeypatch.setattr(ray_jobs, "_POLL_S", 0.0)
    said = []
    with serving_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), _Starting)) as server:
        server.given, server.asked, server.late = [], 0, late
        where = f"the head at http://127.0.0.1:{server.server_port}"
        jobs = JobServer(where.rpartition(" ")[2])
        if ready_s:
            jobs.submit("run", name="a", variables={}, metadata={}, say=said.append)
        else:
            with pytest.raises(EnvironmentProblem) as refused:
                jobs.submit("run", name="a", variables={}, metadata={}, say=said.append)
            assert refused.value.message == (
                f"{where} starts no jobs: its job agent has not come up within 0 s"
            )
            assert "--dashboard-agent-listen-port" in refused.value.hint
    assert server.asked == asked
    waits = f"{where} has no job agent yet; waiting for it, at most 600 s"
    assert said == ([waits] if 0 < late < asked else [])


BEGUN = (
    "INFO -- Runtime env is setting up.\nRunning entrypoint for job a: exec python -m autotune.cli.on_head\n"
)
NO_MODULE = "python: Error while finding module (ModuleNotFoundError: No module named 'autotune')\n"


class _Ray:
    """Ray's client of one job: a state and a log for each time that it is asked."""

    def __init__(self, *states):
        self._states = [(SubmittedState(state), log) for state, log in states]
        self.sent = 0

    def get_job_status(self, job):
        return self._states[0][0]

    def get_job_logs(self, job):
        return self._states.pop(0)[1] if len(self._states) > 1 else self._states[0][1]

    async def tail_job_logs(self, job):
        yield self._states[-1][1]

    def submit_job(self, **about):
        pass

    def stop_job(self, job):
        pass

    def list_jobs(self):
        return []

    def _do_request(self, *request, **more):
        self.sent += 1


class SubmittedState(str):
    def is_terminal(self):
        return self in ("SUCCEEDED", "FAILED")


@pytest.mark.parametrize("log", [NO_MODULE, "/bin/sh: 1: exec: python: not found\n"])
@pytest.mark.parametrize(
    "words",
    [
        ["submit", "study.yaml", "--no-follow"],
        ["submit", "study.yaml", "--json"],
        ["submit", "study.yaml", "--follow"],
        ["submit", "study.yaml", "--follow", "--pass-env", "HOME"],
        ["status", "chat", "--follow", "--json"],
    ],
)
def test_a_head_without_autotune_is_told_so_by_every_command(tmp_path, monkeypatch, capsys, words, log):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    client = _Ray(("RUNNING", BEGUN), ("FAILED", BEGUN + log))
    server = JobServer.__new__(JobServer)
    server.address, server._client = "http://h:1", client
    monkeypatch.setattr(ray_jobs, "JobServer", lambda address: server)
    assert main([*words, "--address", "http://h:1"]) == 3
    said = capsys.readouterr()
    assert "error: the head at http://h:1 finds no autotune: its `python` is another one" in said.err
    assert not client.sent  # nobody would take the secrets there
    assert "is job" not in said.out or "--follow" in words
    assert log.strip() not in said.out


@pytest.mark.parametrize(
    "said",
    [
        "trial 0: crashed_under_load: /bin/sh: 1: python: not found",
        "trial 0: owner_mistake: ModuleNotFoundError: No module named 'autotune'",
        "| /usr/bin/python: No module named autotune",
        f"{MARK}{json.dumps(['out', '/bin/sh: 1: python: not found'])}",
    ],
)
def test_a_study_that_tells_what_its_program_said_is_no_head_without_autotune(said):
    refuse_without_us(f"{BEGUN}{said}\n", "http://h:1")
    for missing in (NO_MODULE, "bash: line 1: exec: python: not found\n", "sh: python3: command not found\n"):
        with pytest.raises(EnvironmentProblem):
            refuse_without_us(f"{BEGUN}{missing}", "http://h:1")


@pytest.mark.parametrize(
    ("states", "asked"),
    [
        ([("RUNNING", BEGUN), ("RUNNING", f"{BEGUN}study chat\n"), ("RUNNING", "never")], 2),
        ([("RUNNING", ""), ("SUCCEEDED", BEGUN), ("SUCCEEDED", "never")], 2),
    ],
)
def test_a_job_that_begins_is_waited_for_no_longer_than_until_it_says_something(monkeypatch, states, asked):
    monkeypatch.setattr(ray_jobs, "_POLL_S", 0.0)
    server = JobServer.__new__(JobServer)
    server.address, server._client = "http://h:1", _Ray(*states)
    server.wait_until_begun("a", 600.0)
    assert len(server._client._states) == len(states) - asked
    server._client = _Ray(("RUNNING", BEGUN))
    server.wait_until_begun("a", 0.0)


def test_a_word_that_stays_is_noted_and_what_goes_on_with_a_study_names_it(jobs, tmp_path, capsys):
    (tmp_path / "x").write_text("")
    (tmp_path / "study.yaml").write_text(STUDY.replace('"{x}"', "x"))
    assert main(["submit", "study.yaml", "--address", "http://h:1", "--owner", "alice"]) == 0
    assert "note: 'x' of system.argv is also a file beside the study, which stays" in capsys.readouterr().err
    stop_job(Jobs(""), StudyJob("a", "alice", "chat-2", live=True), "http://h:1", False)
    said = capsys.readouterr().out
    assert (
        "`autotune submit FILE --owner alice --set name=chat-2 --address http://h:1` goes on with it" in said
    )


@pytest.mark.parametrize(
    "words", [["submit", "study.yaml"], ["status"], ["status", "chat", "--follow"], ["stop"], ["list"]]
)
def test_a_missing_ray_is_what_is_said_of_it(tmp_path, monkeypatch, capsys, words):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    assert main([*words, "--address", "http://h:1"]) == 3
    error = capsys.readouterr().err
    assert "error: ray is not installed here\n" in error
    assert "pip install 'autotune-inference[cluster]'" in error
    assert "8265" not in error


@pytest.mark.parametrize("kind", ["engines", "exporters", None])
def test_other_kinds_are_listed_on_the_head_as_they_are_there(jobs, tmp_path, capsys, monkeypatch, kind):
    words = [] if kind is None else [kind]
    assert main(["list", *words, "--json"]) == 0
    here = json.loads(capsys.readouterr().out)
    assert main(["list", *words, "--json", "--address", "http://h:1"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("AUTOTUNE_STORE", str(tmp_path / "none"))
    entrypoint = jobs[-1][0].split()
    assert on_head.main(entrypoint[entrypoint.index("list") :]) == 0
    _, text = json.loads(capsys.readouterr().out.strip().removeprefix(MARK))
    assert json.loads(text) == here
    assert (kind or "studies") in here


def test_without_a_name_the_studies_that_run_are_told(monkeypatch):
    jobs = [StudyJob(name, name, "chat", live=True) for name in ("alice", "bob")]
    monkeypatch.setattr(Jobs, "studies", lambda self: jobs)
    monkeypatch.setattr("autotune.executor.ray_jobs.JobServer", Jobs)
    with pytest.raises(StudyError, match=r"^several studies run there: alice/chat, bob/chat"):
        find_job("http://h:1", None)
    with pytest.raises(StudyError, match=r"^'chat' could be any of these: alice/chat, bob/chat"):
        find_job("http://h:1", "chat")
