"""Where a ledger lies: full disks, read-only folders, network filesystems, many readers."""

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from autotune.cli import main
from autotune.core.measurement import Estimate, Measurement
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.errors import AutotuneError, LedgerError
from autotune.ledger import Ledger, connection, place
from autotune.ledger.lock import study_is_held
from autotune.study.study import Study
from autotune.study.tune import tune
from autotune.tracking.mlflow_items import one_line
from autotune.tracking.turn import Turn, turn_file

pytestmark = pytest.mark.timeout(300)

SPACE = Space((Int("a", 1, 60),))
SUGGESTION = Suggestion({"a": 1}, Reason.RANDOM)
MEASURED = Measurement(metrics={"x": Estimate(1.0)}, facts={"text": "y" * 2000}, started_ns=1, ended_ns=2)


@pytest.fixture
def mounted(tmp_path):
    """Mount a filesystem of a kind and size at a folder, where this user may."""
    stack = contextlib.ExitStack()

    def mount(*options, kind="tmpfs"):
        folder = tmp_path / f"mount-{len(options)}-{kind}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", kind, *options, kind, str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        return folder

    with stack:
        yield mount


def start_study(path):
    ledger = Ledger.open(path)
    ledger.create_study("s", spec={"space": {}}, fingerprint="f", seed=3, engine="gp/1")
    return ledger


def fill_up(ledger, first=0):
    """Commit trials until the disk refuses; the numbers that were acknowledged and the refusal."""
    acknowledged = []
    for number in range(first, 100_000):
        try:
            ledger.add_measured("s", number, SUGGESTION, MEASURED, TrialState.COMPLETED)
        except LedgerError as error:
            return acknowledged, error
        acknowledged.append(number)
    raise AssertionError("the disk never became full")


def check_full(path, record, injection):
    with start_study(path) as ledger:
        acknowledged, error = fill_up(ledger)
        assert "full" in error.message or "I/O" in error.message
        assert "free some space" in error.hint
        acknowledged += fill_up_more(ledger, len(acknowledged))
    with Ledger.open(path, read_only=True) as ledger:
        assert [t.number for t in ledger.trials("s")] == acknowledged
    record(
        injection,
        "P1 P7",
        f"refused with what to do; {len(acknowledged)} of {len(acknowledged)} commits there",
    )
    return acknowledged


def fill_up_more(ledger, number):
    """Try again while nothing was freed: refused again, and nothing half written."""
    again, _ = fill_up(ledger, number)
    assert [t.number for t in ledger.trials("s")] == [*range(number), *again]
    return again


def test_a_full_disk_refuses_commits_and_keeps_all_that_were_acknowledged(mounted, record):
    folder = mounted("-o", "size=600k")
    path = folder / "ledger.sqlite"
    acknowledged = check_full(path, record, "disk full (tmpfs of 600 KiB)")
    subprocess.run(["mount", "-o", "remount,size=2m", str(folder)], check=True)  # somebody made room
    with Ledger.open(path) as ledger:
        ledger.add_measured("s", len(acknowledged), SUGGESTION, MEASURED, TrialState.COMPLETED)
    with Ledger.open(path) as ledger:
        assert len(ledger.trials("s")) == len(acknowledged) + 1


def test_a_file_that_may_not_grow_refuses_commits_and_keeps_all_that_were_acknowledged(tmp_path, record):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        acknowledged = check_full(tmp_path / "ledger.sqlite", record, "a quota of 400 kB for each file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.add_measured("s", len(acknowledged), SUGGESTION, MEASURED, TrialState.COMPLETED)


@pytest.mark.slow
def test_a_study_on_a_full_disk_stops_with_the_reason_and_goes_on(
    mounted, toy_study, autotune_command, record
):
    folder = mounted("-o", "size=300k")
    toy_study(budget="{trials: 8, confirm: 0}")
    stopped = autotune_command("run", "toy.yaml", "--local", "--store", folder, check=False)
    assert stopped.returncode == 3, stopped.stderr
    with Ledger.open(folder / "ledger.sqlite", read_only=True) as ledger:
        before = {t.number: t for t in ledger.trials("toy") if t.state.finished}
    subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
    autotune_command("run", "toy.yaml", "--local", "--store", folder)
    with Ledger.open(folder / "ledger.sqlite", read_only=True) as ledger:
        after = ledger.trials("toy")
    assert len(after) == 8
    assert {t.state for t in after} == {TrialState.COMPLETED}
    assert len(before) < 8
    assert {n: after[n] for n in before} == before
    said = stopped.stderr.strip().splitlines()[0].replace(str(folder), "STORE")
    record(
        "study on a disk of 300 KiB",
        "P1 P3",
        f"exit code 3 after {len(before)} trials (`{said}`); goes on after room was made",
    )


def test_a_read_only_place_can_be_read_and_is_not_written(mounted, record):
    folder = mounted("-o", "size=2m", "-o", "mode=755")
    path = folder / "ledger.sqlite"
    with start_study(path) as ledger:
        ledger.add_measured("s", 0, SUGGESTION, MEASURED, TrialState.COMPLETED)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with Ledger.open(path, read_only=True) as ledger:
        assert len(ledger.trials("s")) == 1
    with pytest.raises(LedgerError) as caught:
        Ledger.open(path).add_trial("s", 1, SUGGESTION)
    assert "readonly" in caught.value.message or "unable to open" in caught.value.message
    assert "cannot be written" in caught.value.hint
    with Ledger.open(path, read_only=True) as ledger, pytest.raises(LedgerError, match="cannot be locked"):
        ledger.lock_study("s").__enter__()
    record("read-only filesystem", "P7", "read as ever; writing and locking refused with the reason")


MOUNTS = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:26 / /data rw,relatime shared:1 - nfs4 server:/data rw,vers=4.2
31 30 0:27 / /data/a\\040b/local rw - xfs /dev/vdb rw
32 21 0:28 / /mnt/share rw - cifs //server/share rw
33 21 0:29 / /mnt/share rw - ext4 /dev/vdc rw
34 21 0:30 / /scratch rw - lustre 10.0.0.1@tcp:/scratch rw,flock
35 21 0:31 / /host rw - 9p host rw
a line of another form
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/l.sqlite", "ext4"),
        ("/data/me/runs/l.sqlite", "nfs4"),
        ("/data/a b/local/l.sqlite", "xfs"),
        ("/data2/l.sqlite", "ext4"),
        ("/mnt/share/l.sqlite", "ext4"),
        ("/scratch/l.sqlite", "lustre"),
        ("/host/l.sqlite", "9p"),
    ],
)
def test_the_mount_that_holds_a_path_is_found(path, kind):
    assert place.kind_at(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", sorted(place.NETWORK))
def test_a_network_filesystem_is_refused_with_the_reason(tmp_path, monkeypatch, caplog, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {tmp_path} rw - {kind} server:/x rw\n")
    monkeypatch.setattr(place, "MOUNTS", mounts)
    path = tmp_path / "ledger.sqlite"
    with pytest.raises(LedgerError) as caught:
        Ledger.open(path)
    assert f"would lie on {kind}, a network filesystem" in caught.value.message
    assert "--store names a folder on a local disk" in caught.value.hint
    assert not path.exists()
    monkeypatch.setenv(connection.ON_NETWORK, "1")
    with start_study(path) as ledger:
        ledger.add_trial("s", 0, SUGGESTION)
        assert not path.with_name("ledger.sqlite-wal").exists()
    assert "safe from one machine only" in caplog.text
    monkeypatch.delenv(connection.ON_NETWORK)
    with Ledger.open(path, read_only=True) as ledger:  # looking does no harm
        assert len(ledger.trials("s")) == 1


def test_what_a_guest_shares_with_its_host_is_warned_about(tmp_path, monkeypatch, caplog, record):
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 0 0:1 / / rw - virtiofs host rw\n")
    monkeypatch.setattr(place, "MOUNTS", mounts)
    start_study(tmp_path / "ledger.sqlite").close()
    assert "lies on virtiofs: use it from one machine only" in caplog.text
    figure = f"{len(place.NETWORK)} kinds refused with the reason, {len(place.UNSURE)} warned about"
    record("network filesystems (NFS, SMB, Lustre ...; mounts simulated)", "P7", figure)


def test_the_kind_of_a_real_mount_is_seen(mounted, tmp_path):
    assert place.filesystem_of(mounted("-o", "size=1m") / "l.sqlite") == "tmpfs"
    assert place.filesystem_of(tmp_path / "l.sqlite") not in (place.NETWORK, "")


WRITER = """
import sys, time
from autotune.core.measurement import Estimate, Measurement
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.ledger import Ledger
with Ledger.open(sys.argv[1]) as ledger:
    ledger.create_study("s", spec={}, fingerprint="f", seed=0, engine="gp")
    print("ready", flush=True)
    slowest = 0.0
    for number in range(int(sys.argv[2])):
        began = time.monotonic()
        ledger.add_trial("s", number, Suggestion({"a": number}, Reason.RANDOM))
        ledger.start_attempt("s", number, "local")
        measured = Measurement(metrics={"x": Estimate(float(number))})
        ledger.finish_attempt("s", number, 1, measured, state=TrialState.COMPLETED)
        slowest = max(slowest, time.monotonic() - began)
    print(slowest, flush=True)
"""


def test_ten_readers_while_a_study_writes_see_whole_histories_only(tmp_path, record):
    path, trials = tmp_path / "ledger.sqlite", 150
    looks, wrong = [0] * 10, []
    done = threading.Event()

    def read(index):
        last = 0
        while not done.is_set():
            try:
                with Ledger.open(path, read_only=True) as ledger:
                    found = ledger.trials("s")
                    finished = [t for t in found if t.state is TrialState.COMPLETED]
                    if [t.number for t in found] != list(range(len(found))) or len(finished) < last:
                        wrong.append(f"reader {index} saw {len(finished)} after {last}")
                    if any(t.metrics["x"].value != t.number for t in finished):
                        wrong.append(f"reader {index} saw another measurement")
                    last = len(finished)
                looks[index] += 1
            except LedgerError as error:
                wrong.append(str(error))

    readers = [threading.Thread(target=read, args=(index,)) for index in range(10)]
    argv = [sys.executable, "-c", WRITER, str(path), str(trials)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"
        for reader in readers:
            reader.start()
        slowest = float(writer.stdout.readline())
        done.set()
        for reader in readers:
            reader.join()
    assert writer.returncode == 0
    assert not wrong, wrong[:3]
    assert min(looks) > 0
    with Ledger.open(path) as ledger:
        assert len(ledger.trials("s")) == trials
    figure = (
        f"{sum(looks)} verified reads of whole histories, 0 wrong; slowest trial of {trials} {slowest:.2f} s"
    )
    record("ten readers while a study writes", "P6 P7", figure)


@pytest.mark.slow
def test_ten_thousand_trials_open_soon(tmp_path, record):
    from benchmarks.ledger import build, measure

    path = tmp_path / "ledger.sqlite"
    build(path, 10_000)
    found = measure(path, 10_000)
    record(
        f"a ledger of 10,000 trials ({found.megabytes:.0f} MB)",
        "P7",
        f"opened and every row verified in {found.open_s:.1f} s, a study in {found.study_s:.1f} s; "
        f"then {1000 * found.commit_s:.1f} ms per commit",
    )


# -- what others have at the names of a ledger ---------------------------------------------------------

OTHERS = {
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a symbolic link": lambda path: path.symlink_to(path.with_name("users.txt")),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nowhere")),
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}
NAMES = ("", "-wal", "-shm", "-journal", ".head", ".s.lock", ".room", ".turn")


def kinds_and_contents(folder):
    return {
        path.name: (
            path.lstat().st_ino,
            stat.S_IFMT(path.lstat().st_mode),
            path.is_file() and path.read_text(),
        )
        for path in folder.iterdir()
        if not path.name.startswith("ledger.sqlite") or not path.is_file()
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", OTHERS)
def test_what_others_have_at_the_names_of_a_ledger(tmp_path, what, name, caplog):
    if not name and "link" in what:
        pytest.skip("the owner's way to keep a ledger elsewhere")
    path = tmp_path / "ledger.sqlite"
    (tmp_path / "users.txt").write_text("the user's\n" * 200)
    odd = turn_file(path, "s", "mlflow/1") if name == ".turn" else tmp_path / f"{path.name}{name}"
    OTHERS[what](odd)
    before = kinds_and_contents(tmp_path)
    kind = what.replace("a link to nothing", "a symbolic link")
    said = ""
    try:
        study_is_held(path, "s")
        with start_study(path) as ledger, ledger.lock_study("s"):
            ledger.add_measured("s", 0, SUGGESTION, MEASURED, TrialState.COMPLETED)
        with Ledger.open(path, read_only=True, guarded=False) as ledger:
            assert len(ledger.trials("s")) == 1
        with Turn(path, "s", "mlflow/1", "token").taken(lambda: True):
            pass
    except (LedgerError, OSError) as error:
        said = str(error)
    assert kinds_and_contents(tmp_path) == before, "it is as it was"
    if name == ".room":
        assert said == "", "nothing is kept, then"
    elif name == ".head":
        assert kind in caplog.text
    else:
        assert f"{odd.name} is {kind}" in said


THEIRS = "notes of mine, kept for years\n"


@pytest.mark.parametrize("name", [*NAMES[1:]])
def test_a_text_of_the_users_at_a_name_of_ours_is_left_as_it_is(tmp_path, name, caplog):
    path = tmp_path / "ledger.sqlite"
    odd = turn_file(path, "s", "mlflow/1") if name == ".turn" else tmp_path / f"{path.name}{name}"
    odd.write_text(THEIRS)
    said = ""
    try:
        with start_study(path) as ledger, ledger.lock_study("s"):
            ledger.add_measured("s", 0, SUGGESTION, MEASURED, TrialState.COMPLETED)
        with Ledger.open(path, guarded=True), Turn(path, "s", "mlflow/1", "token").taken(lambda: True):
            pass
    except LedgerError as error:
        said = str(error)
    assert odd.read_text() == THEIRS
    if name != ".room":  # nothing is kept, then
        assert f"{odd.name} is a file of somebody else's" in (caplog.text if name == ".head" else said)


@pytest.mark.parametrize("left", [b"", b"\0" * 40, b'{"pid'])
def test_what_a_crash_left_of_a_file_of_ours_is_written_anew(tmp_path, left, caplog):
    path = tmp_path / "ledger.sqlite"
    for name in (".head", ".s.lock", "-wal", "-shm", "-journal"):
        if not left.strip(b"\0") or name == ".s.lock":
            path.with_name(f"{path.name}{name}").write_bytes(left)
    with start_study(path) as ledger, ledger.lock_study("s"):
        ledger.add_measured("s", 0, SUGGESTION, MEASURED, TrialState.COMPLETED)
    assert caplog.text == ""


@pytest.mark.parametrize("spoil", [OTHERS["a folder"], OTHERS["a FIFO"], lambda path: path.symlink_to(path)])
def test_a_turn_that_cannot_be_taken_is_one_line(tmp_path, spoil):
    path = turn_file(tmp_path / "ledger.sqlite", "s", "mlflow/1")
    spoil(path)
    turn = Turn(tmp_path / "ledger.sqlite", "s", "mlflow/1", "token")
    with pytest.raises(LedgerError) as caught, turn.taken(lambda: True):
        pass
    line = one_line(caught.value)
    assert line.startswith(f"no turn to write to the store: {path}: {path.name} is a")
    assert "Errno" not in line


def _loop_at(path):
    path.symlink_to(path.name)
    return path


@pytest.mark.parametrize("where", ["store", "ledger"])
def test_a_circle_of_links_at_the_ledger_is_one_error(tmp_path, toy_study, where, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "l1"
    if where == "ledger":
        store.mkdir()
        _loop_at(store / "ledger.sqlite")
    else:
        _loop_at(store)
    path = str(toy_study())
    sweep = ["sweep", path, "--sample", "2"]
    for argv in (["run", path, "--local"], ["status"], ["best"], ["list"], ["sync"], ["check", path], sweep):
        code = main([*argv, "--store", str(store)])
        said = capsys.readouterr().err
        assert "internal" not in said, argv
        assert code in (0, 2, 3) if argv[0] in ("check", "list") else code in (2, 3), (argv, said)
    target = store / "ledger.sqlite"
    with pytest.raises(LedgerError, match=r"cannot be made|circle of symbolic links"):
        tune(SPACE, lambda config: 1.0, {"maximize": "x"}, trials=1, engine="random", path=target)
    with pytest.raises(LedgerError, match=r"cannot be made|circle of symbolic links"):
        Study(SPACE, {"maximize": "x"}, engine="random", path=target)
    with pytest.raises(AutotuneError, match="no ledger at"):
        Study.open(target)


@pytest.mark.parametrize(
    "text",
    [
        "{space: loop.yaml}",
        "{tracking: {mlflow: 'sqlite:///loop.db'}}",
        "{system: {use: replay, table: loop.csv}}",
    ],
)
def test_a_circle_of_links_in_a_study_is_one_error(tmp_path, toy_study, text, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("loop.yaml", "loop.db", "loop.csv"):
        _loop_at(tmp_path / name)
    assert main(["run", "loop.yaml", "--local"]) == 2
    document = yaml.safe_load(toy_study().read_text()) | yaml.safe_load(text)
    if "space" in document:
        document.pop("parameters", None)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document))
    main(["run", "study.yaml", "--local", "--set", "budget.trials=1", "--set", "budget.confirm=0"])
    assert "internal" not in capsys.readouterr().err
