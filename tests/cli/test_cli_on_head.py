"""Commands on a cluster's head: whose study is meant, and how the output goes back."""

import base64
import json
import os
from dataclasses import replace

import pytest

from autotune import Float, Objective, Space, Study
from autotune.cli import on_head
from autotune.cli import submitted as submitted_module
from autotune.cli.remote import MARK
from autotune.cli.submitted import STUDY_VARIABLE, head_store
from autotune.core.commands import OWNER_VARIABLE, stored_command
from autotune.core.redact import PASS_ENV
from autotune.executor import brought
from autotune.executor.brought import FOLDER, Brought, lay_out
from autotune.ledger import Ledger
from autotune.ledger.lock import study_lock
from autotune.ledger.rows import OWNER
from autotune.study.share_note import SHARE, share_text


@pytest.fixture
def head(tmp_path, monkeypatch):
    """A head with studies of two people and of nobody."""
    monkeypatch.setenv("AUTOTUNE_STORE", str(tmp_path))
    monkeypatch.setenv("AUTOTUNE_SHOWN_ADDRESS", "http://head:8265")
    for owner, names in {"alice": ["chat", "code"], "bob": ["chat"], "": ["old"]}.items():
        for name in names:
            with Study(
                Space([Float("x", low=0, high=1)]), Objective(minimize="y"), name=name,
                path=tmp_path / owner / "ledger.sqlite", engine="random",
            ) as study:  # fmt: skip
                if owner:
                    study.ledger.set_study_note(name, OWNER, owner)
                for trial in study.ask(2):
                    study.tell(trial, {"y": trial.config["x"]})
    return tmp_path


@pytest.fixture
def ask(head, capsys):
    """Give a command on the head; its exit code, output, errors and file."""

    def ask(*words):
        code = on_head.main(words)
        found = {"out": "", "err": "", "file": ""}
        for line in filter(None, capsys.readouterr().out.split("\n")):
            assert line.startswith(MARK)
            kind, data = json.loads(line[1:])
            found[kind] += data
        return code, found["out"], found["err"], base64.b64decode(found["file"])

    return ask


def test_studies_are_listed_with_their_owners_and_found_by_name_where_that_is_enough(ask):
    code, out, _, _ = ask("list", "--", "studies")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["old", "alice/chat", "alice/code", "bob/chat"]
    assert "owner alice" in out
    assert set(json.loads(ask("status", "--json")[1])["studies"]) == {
        "old", "alice/chat", "alice/code", "bob/chat",
    }  # fmt: skip
    for name in ("code", "alice/code"):
        code, out, err, _ = ask("status", "--", name)
        assert (code, err) == (0, "")
        assert "study code" in out
        assert "owner: alice" in out
    assert json.loads(ask("status", "--json", "--", "bob/chat")[1])["owner"] == "bob"
    assert "owner" not in json.loads(ask("status", "--json", "--", "old")[1])


def test_a_name_of_two_owners_is_one_error_that_lists_them(ask):
    code, out, err, _ = ask("best", "--", "chat")
    assert (code, out) == (2, "")
    assert err == "error: 'chat' could be any of these: alice/chat, bob/chat\n  name one of them\n"
    code, _, err, _ = ask("best", "--", "alice/chta")
    assert code == 2
    assert "there are: alice/chat, alice/code, bob/chat, old" in err
    assert "did you mean 'alice/chat'?" in err


def test_one_owners_damaged_ledger_hides_nothing_of_the_others(ask, head):
    (head / "mallory").mkdir()
    (head / "mallory" / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    code, out, err, _ = ask("status", "--", "alice/chat")
    assert (code, err) == (0, "")
    assert "owner: alice" in out
    for words in (["list", "--", "studies"], ["status", "--", "code"]):
        code, out, err, _ = ask(*words)
        assert code == 0
        assert "code" in out
        assert err.startswith("warning: the studies of mallory are left out: ")
        assert err.count("\n") == 1
    assert ask("status", "--", "mallory/chat")[0] == 3


def test_a_relative_store_is_no_folder_of_rays(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, path in {"mine": "mine", "~/mine": "mine", str(tmp_path / "a"): "a", "": ".autotune"}.items():
        monkeypatch.setenv("AUTOTUNE_STORE", given)
        assert head_store() == tmp_path / path


def test_a_file_that_is_called_as_the_study_does_not_stand_in_for_it(ask):
    code, out, err, file = ask("report", "--format", "csv", "--output", "alice/chat", "--", "alice/chat")
    assert (code, out, err) == (0, "alice/chat\n", "")
    assert file.decode().startswith("number,")
    assert "'--output'" in ask("status", "--", "--output")[2]


def test_a_file_goes_back_under_the_name_that_was_asked_for(ask):
    code, out, _, file = ask("report", "--output", "mine/here.csv", "--", "alice/chat")
    assert code == 0
    assert out == "mine/here.csv\n"
    assert file.decode().startswith("number,")


def test_a_study_that_does_not_run_is_told_with_its_owner(ask):
    code, out, err, _ = ask("stop", "--", "alice/chat")
    assert (code, err) == (0, "")
    assert out.startswith("study alice/chat is not running: ")


def test_commands_that_are_printed_reach_the_head_too(ask):
    _, out, _, _ = ask("best", "--", "alice/chat")
    assert "--store" not in out
    assert "--address http://head:8265" in ask("status", "--", "alice/chat")[1].replace("\\\n", "")


STUDY = """
name: chat
parameters: {{x: {{type: int, low: 1, high: {high}, default: 6}}}}
system: {{use: command, argv: [sh, work.sh], metrics: stdout}}
objective: {{maximize: speed}}
engine: {{use: random}}
budget: {{trials: {trials}, confirm: 0, watch: 0}}
tracking: {{mlflow: none}}
"""


@pytest.fixture
def submitted(tmp_path, monkeypatch):
    """Run what Ray lays into the working folder of a submission's job; its exit code and the folders kept."""
    store = tmp_path / "store"
    monkeypatch.setenv("AUTOTUNE_STORE", str(store))
    monkeypatch.setenv(OWNER_VARIABLE, "alice")
    monkeypatch.setenv(STUDY_VARIABLE, "chat")
    monkeypatch.setenv(FOLDER, "")
    home = store / "alice" / "files" / "chat"

    def submitted(speed, trials=1, high=9):
        sent = tmp_path / f"sent-{speed}"
        sent.mkdir()
        script = f"""echo '{{"speed": {speed}}}'; touch made-{speed}"""
        (sent / "work.sh").write_text(script)
        (sent / "study.yaml").write_text(STUDY.format(trials=trials, high=high))
        monkeypatch.chdir(sent)
        code = on_head.main(["run", "study.yaml", "--local", "--quiet"])
        while brought._used:  # a job is a process: its locks end with it
            os.close(brought._used.popitem()[1])
        return code, sorted(home.iterdir())

    return submitted


@pytest.mark.parametrize(
    ("store", "told"),
    [("", "--address http://head:8265"), ("/d/x", "--address http://head:8265 --store /d/x")],
)
def test_what_is_to_be_typed_next_names_owner_address_and_the_store_that_was_given(
    ask, monkeypatch, store, told
):
    if store:
        monkeypatch.setenv("AUTOTUNE_SHOWN_STORE", store)
    for name, known in {"bob/chat": "bob/chat", "code": "alice/code", "old": "old"}.items():
        code, out, _, _ = ask("status", "--", name)
        assert code == 0
        owner, _, bare = known.rpartition("/")
        text = " ".join(out.replace("\\\n", "").split())
        assert f"next: autotune best {known} {told} shows" in text
        monkeypatch.setenv(OWNER_VARIABLE, owner)
        assert stored_command("best", bare, "x.sqlite") == f"autotune best {known} {told}"
        whose = f"--owner {owner} " if owner else ""
        again = f"autotune submit FILE {whose}--set name={bare} {told}"
        assert stored_command("resume", bare, "x.sqlite") == again


@pytest.mark.parametrize("name", ["store", "größe", 'a"b', r"a\b"])
@pytest.mark.parametrize("as_key", [False, True])
def test_the_files_that_a_ledger_names_are_needed_however_the_store_is_called(tmp_path, name, as_key):
    store = tmp_path / name
    home = store / "files" / "chat"
    named, other = home / ("0123456789abcdef"), home / ("f" * 16)
    for folder in (named, other):
        folder.mkdir(parents=True)
    text = f"{named}/work.py:f"
    with Ledger.open(store / "ledger.sqlite") as ledger:
        spec = {"on": {"end": [{text: 1} if as_key else text]}, "n": 1}
        ledger.create_study("chat", spec=spec, fingerprint="", seed=1, engine="random")
    assert submitted_module._needed(store, "chat", home) == {named}


def test_the_files_that_a_ledger_names_through_a_link_are_needed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    home = tmp_path / "linked" / "files" / "chat"
    (home / ("a" * 16)).mkdir(parents=True)
    with Ledger.open(tmp_path / "real" / "ledger.sqlite") as ledger:
        spec = {"folder": str((home / ("a" * 16)).resolve())}
        ledger.create_study("chat", spec=spec, fingerprint="", seed=1, engine="random")
    assert submitted_module._needed(tmp_path / "linked", "chat", home) == {home / ("a" * 16)}


@pytest.mark.slow
def test_each_submission_has_its_files_and_one_that_goes_on_leaves_no_older_ones(submitted, capsys):
    code, first = submitted(1)
    assert code == 0, capsys.readouterr().err
    code, folders = submitted(2, trials=2)
    assert code == 0, capsys.readouterr().err
    there = {path.name: sorted(file.name for file in path.iterdir()) for path in folders}
    assert there.pop(first[0].name) == ["made-1"]  # the study's own stays
    assert list(there.values()) == [[".autotune-files.json", "made-2", "study.yaml", "work.sh"]]
    with Ledger.open(folders[0].parents[2] / "ledger.sqlite", read_only=True) as ledger:
        row, trials = ledger.study("chat"), ledger.trials("chat")
    assert [trial.metrics["speed"].value for trial in trials] == [1.0, 2.0]
    assert row.spec["system"]["folder"].endswith(next(iter(there)))  # for `autotune resume`
    code, after = submitted(3, trials=3, high=8)  # another space: refused
    assert code == 2
    assert "was started over another search space" in capsys.readouterr().err
    assert set(folders) <= set(after)
    assert next(f for f in folders if f.name in there).joinpath("work.sh").read_text().startswith("echo")


def test_the_files_of_a_study_that_runs_stay_as_they_are(submitted, tmp_path, capsys):
    (tmp_path / "store" / "alice" / "files" / "chat").mkdir(parents=True)
    with study_lock(tmp_path / "store" / "alice" / "ledger.sqlite", "chat"):
        assert submitted(1) == (2, [])
    assert "study 'chat' is already run by " in capsys.readouterr().err


def test_a_study_shares_with_others_only(head):
    with Ledger.open(head / "alice" / "ledger.sqlite") as ledger:
        share = {"held": 1.0, "fair": 1.0, "nodes": 2, "before": "", "others": ["alice/chat", "bob/chat"]}
        row = replace(ledger.studies()[0], state="RUNNING")
        assert share_text(replace(row, notes={**row.notes, SHARE: share})).endswith("shared with bob/chat")
        share["others"] = [row.label]
        assert "shared" not in share_text(replace(row, notes={**row.notes, SHARE: share}))


def test_an_owners_variables_and_files_reach_a_worker(tmp_path, monkeypatch):
    monkeypatch.setenv(PASS_ENV, "MY_KEY")
    monkeypatch.setenv("MY_KEY", "hunter2-hunter2")
    said = {PASS_ENV: "MY_KEY", "MY_KEY": "hunter2-hunter2", "AUTOTUNE_BROUGHT": str(tmp_path / "there")}
    package = tmp_path / "working_dir_files" / "pkg"
    package.mkdir(parents=True)
    (package / "work.py").write_text("one")
    brought = Brought.from_dict(Brought.of(said).to_dict())
    monkeypatch.delenv("MY_KEY")
    monkeypatch.chdir(package)
    brought.unpack()
    assert (tmp_path / "there" / "work.py").read_text() == "one"
    assert os.environ["MY_KEY"] == "hunter2-hunter2"
    monkeypatch.chdir(tmp_path)  # no folder of Ray's: nothing is copied out of it
    Brought(str(tmp_path / "elsewhere")).unpack()
    assert not (tmp_path / "elsewhere").exists()
    (package / "work.py").write_text("two")
    lay_out(package, tmp_path / "there")
    assert (tmp_path / "there" / "work.py").read_text() == "two"
