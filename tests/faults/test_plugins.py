"""Plug-ins of strangers that are broken: each named in one error, and in nobody else's way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from autotune.analysis.facts import circumstances
from autotune.cli import main
from autotune.cli.doctor import examine
from autotune.cli.plugins import registries
from autotune.convert.formats import convert
from autotune.core import registry
from autotune.core.measurement import Cause
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import TrialState
from autotune.engine.registry import ENGINES, build_engine
from autotune.errors import EnvironmentProblem, SpecError
from autotune.executor.worker import run_attempt
from autotune.ledger import Ledger
from autotune.measure.metrics import plugin_metrics, summarize
from autotune.spec.sections import Tracking, read_objective
from autotune.study.mirroring import start_mirror
from autotune.study.readiness import announce
from autotune.study.study import Study
from autotune.study.study_file import read_study
from autotune.systems.base import NotReady
from autotune.systems.own.system import OwnSystem
from autotune.systems.registry import SYSTEMS, build_system
from autotune.testing.metric_contract import SAMPLES
from autotune.tracking.base import MirrorReport
from tests_jobs import job_of
from tests_shared import wait_until

pytestmark = pytest.mark.timeout(300)

SPACE = Space((Int("a", 1, 1000),))
OBJECTIVE = {"maximize": "x"}
ENGINE = """
from autotune.core.trial import Reason, Suggestion

class Mute(Exception):
    def __str__(self): raise RuntimeError("no words")

class Engine:
    name = "broken/1"
    def ask(self, space, objective, history, pending, n, seed):
        {ask}
    @classmethod
    def from_dict(cls, data, *, budget=None):
        {make}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package whose entry point `broken` is an object of a module of the given text."""
    count = 0

    def add(text, group="autotune.engines", target="Engine", name="broken", package="broken-package"):
        nonlocal count
        count += 1
        module = f"broken_{tmp_path.name.replace('-', '_')}_{count}"
        folder = tmp_path / str(count)
        stem = package.removesuffix("-package").replace("-", "_")  # two of one stem hide each other
        info = folder / f"{stem}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{target}\n")
        (folder / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(ENGINES, "_hanging", set())
        return folder

    return add


def engine(ask="return []", make="return cls()"):
    return ENGINE.format(ask=ask, make=make)


AT_IMPORT = {
    "raise RuntimeError('no driver')": "cannot be imported: RuntimeError: no driver",
    "import absent_package_of_theirs": "cannot be imported: ModuleNotFoundError: No module named",
    "raise SystemExit(0)": "cannot be imported: SystemExit: 0",
    "def f(:": "cannot be imported: SyntaxError",
    "Engine = 3": "is no engine: 3 has no method from_dict",
    "Other = 3": "cannot be imported: AttributeError",
}


@pytest.mark.parametrize("text", AT_IMPORT)
def test_a_plugin_that_cannot_be_imported_is_named(install, text):
    install(text)
    with pytest.raises(EnvironmentProblem) as caught:
        build_engine("broken")
    assert AT_IMPORT[text] in caught.value.message
    assert "engine 'broken' of the plug-in broken-package 1.0: broken_" in caught.value.message
    assert "uninstall" in caught.value.hint


def test_an_import_that_hangs_ends_with_an_error_that_names_it(install, monkeypatch):
    monkeypatch.setattr(registry, "IMPORT_S", 0.2)
    install("import threading\nthreading.Event().wait()")
    for _ in range(2):  # the second one does not wait behind the first
        with pytest.raises(
            EnvironmentProblem, match=r"'broken' of the plug-in .* is not imported after 0.2 s"
        ):
            build_engine("broken")


ASKED = {
    "raise KeyError('x')": "failed: KeyError: 'x'",
    "raise SystemExit(0)": "failed: SystemExit: 0",
    "raise Mute": "failed: Mute: it cannot be shown",
    "return None": "proposed None, which is no list of suggestions",
    "return [{'a': 1}]": "which is no list of suggestions",
    "return [Suggestion({'a': 10**9}, Reason.RANDOM)]": "which is not of the space",
    "return [Suggestion({'b': 1}, Reason.RANDOM)]": "which is not of the space",
    "return [Suggestion(None, Reason.RANDOM)]": "",
}


@pytest.mark.parametrize("ask", ASKED)
def test_an_engine_that_proposes_nonsense_is_named_and_nothing_is_committed(install, ask):
    install(engine(ask))
    study = Study(SPACE, OBJECTIVE, engine="broken")
    with pytest.raises(EnvironmentProblem) as caught:
        study.ask()
    assert ASKED[ask] in caught.value.message
    assert "of the plug-in broken-package 1.0" in caught.value.message
    assert not study.trials


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("return None", "is no engine: None has no name or no method ask"),
        ("return 1 / 0", "failed: ZeroDivisionError"),
    ],
)
def test_an_engine_that_cannot_be_made_is_named(install, make, said):
    install(engine(make=make))
    with pytest.raises(EnvironmentProblem, match=said):
        Study(SPACE, OBJECTIVE, engine="broken")


def test_errors_of_ours_that_a_plugin_raises_stay_what_they_are(install):
    install(engine(make="from autotune.errors import SpecError\n        raise SpecError('an option')"))
    with pytest.raises(SpecError, match="an option"):
        build_engine("broken")


def test_a_system_that_is_none_is_named(install):
    install("class System:\n    @classmethod\n    def from_dict(cls, data): return cls()",
            "autotune.systems", "System")  # fmt: skip
    with pytest.raises(
        EnvironmentProblem, match=r"system 'broken' of the plug-in .* is no system: .* has no to_dict"
    ):
        build_system({"use": "broken"})
    assert "broken" in SYSTEMS.names()


SYSTEM = """
from pathlib import Path
from autotune.systems.command import CommandSystem

class Mute(BaseException):
    def __str__(self): raise SystemExit(0)

class System(CommandSystem):
    def {method}(self, *given, **named):
        {raised}
"""
RAISED = {
    "raise ValueError('no card')": "failed: ValueError: no card",
    "raise SystemExit(0)": "failed: SystemExit: 0",
    "raise GeneratorExit": "failed: GeneratorExit",
    "raise Mute": "failed: Mute: it cannot be shown",
}


@pytest.mark.parametrize("method", ["check", "parameters", "prepare", "resources", "command", "connect"])
@pytest.mark.parametrize("raised", RAISED)
def test_whatever_a_system_raises_is_its_own_error(install, method, raised):
    install(SYSTEM.format(method=method, raised=raised), "autotune.systems", "System")
    system = build_system({"use": "broken", "argv": ["echo"]})
    assert isinstance(system, OwnSystem)
    with pytest.raises(EnvironmentProblem, match=RAISED[raised]) as caught:
        getattr(system, method)({}, None)
    assert "system 'broken' of the plug-in broken-package 1.0" in caught.value.message


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "BrokenPipeError", "NotReady"])
def test_what_is_no_error_of_a_plugin_passes(install, raised):
    text = SYSTEM.format(method="connect", raised=f"raise {raised}")
    install(f"from autotune.systems.base import NotReady\n{text}", "autotune.systems", "System")
    with pytest.raises((KeyboardInterrupt, BrokenPipeError, NotReady)):
        build_system({"use": "broken", "argv": ["echo"]}).connect(None, 0)


@pytest.mark.parametrize("method", ["command", "connect", "driver"])
def test_what_a_system_raises_in_a_worker_is_a_failure_that_is_not_tried_again(install, tmp_path, method):
    text = SYSTEM.format(method=method, raised="raise Mute")
    if method == "driver":
        text = SYSTEM.format(method="connect", raised="return self")
        text += "    def facts(self): raise SystemExit(0)\n    def close(self): pass\n"
    install(text, "autotune.systems", "System")
    found = run_attempt(job_of(tmp_path, {}, system={"use": "broken", "argv": ["true"]})).measurement.failure
    assert found.cause is Cause.OWNER_MISTAKE
    assert "system 'broken' of the plug-in broken-package 1.0" in found.message


FILE = """
parameters: {a: {type: int, low: 1, high: 9}}
system: {use: USE, argv: [echo, '{a}']}
objective: {maximize: x}
engine: ENGINE
"""


def test_others_do_not_notice_it_and_the_command_line_names_it(install, tmp_path, autotune_command, record):
    folder = install("raise RuntimeError('no driver')")
    (folder / "broken-1.0.dist-info" / "entry_points.txt").write_text(
        (folder / "broken-1.0.dist-info" / "entry_points.txt").read_text()
        + "[autotune.systems]\nbroken = absent_package_of_theirs:System\n"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])}
    file = tmp_path / "study.yaml"
    file.write_text(FILE.replace("USE", "command").replace("ENGINE", "sobol"))
    autotune_command("check", file, env=env)
    listed = autotune_command("list", "engines", env=env).stdout
    assert "broken plug-in broken-package 1.0: broken_" in " ".join(listed.split())  # it is not imported
    assert "sobol" in listed
    looked = json.loads(autotune_command("doctor", "--json", env=env, check=False).stdout)
    found = {check["name"]: check for check in looked["checks"]}
    assert found["system toy"]["status"] == "ok"
    for name in ("system broken", "engine broken"):
        assert found[name]["status"] == "warn"
        assert "of the plug-in broken-package 1.0" in found[name]["found"]
    for use, engine_name, said in (
        ("command", "broken", "engine 'broken' of the plug-in broken-package 1.0"),
        ("broken", "sobol", "system 'broken' of the plug-in broken-package 1.0"),
    ):
        file.write_text(FILE.replace("USE", use).replace("ENGINE", engine_name))
        done = autotune_command("check", file, env=env, check=False)
        assert done.returncode == 3, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    record(
        f"plug-ins that raise, hang or exit at import, are of a wrong type or propose nonsense: "
        f"{len(AT_IMPORT) + len(ASKED) + 4} ways",
        "P9",
        "one error that names package, version and object; exit code 3; nobody else notices",
    )


class Odd(BaseException):
    """What a plug-in raises that knows little of Python."""

    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (SystemExit(0), "internal: SystemExit: 0"),
        (Odd(), "internal: Odd: it cannot be shown"),
        (GeneratorExit("planted-5ecret-value-1"), r"internal: GeneratorExit: \[redacted\]"),
        (RecursionError("too deep"), "internal: RecursionError: too deep"),
    ],
)
def test_what_a_plugin_raises_while_a_study_runs_is_one_error(
    toy_study, tmp_path, monkeypatch, capsys, raised, said
):
    monkeypatch.setenv("A_TOKEN", "planted-5ecret-value-1")
    monkeypatch.chdir(tmp_path)

    def ask(*_):
        raise raised

    monkeypatch.setattr("autotune.study.study.Study.ask", ask)
    assert main(["run", str(toy_study()), "--local", "--json"]) == 6
    shown = capsys.readouterr()
    assert re.search(said, shown.err)
    assert "planted-5ecret" not in shown.out + shown.err


HANGS = """\
name: hangs
parameters: {a: {type: int, low: 1, high: 60, default: 1}}
system: {use: command, argv: [python3, bench.py, "{a}"]}
objective: {maximize: speed}
budget: {trials: 5, confirm: 0, parallel: 1}
engine: broken
tracking: {mlflow: "off"}
"""


def test_a_second_sigterm_ends_a_study_whose_engine_hangs(install, tmp_path, record):
    asked = tmp_path / "asked"
    first = "if not history: return [Suggestion({'a': 1}, Reason.DEFAULT)]"
    hang = f"import pathlib, time; pathlib.Path({str(asked)!r}).touch(); time.sleep(600)"
    folder = install(engine(ask=f"{first}\n        {hang}"))
    (tmp_path / "hangs.yaml").write_text(HANGS)
    (tmp_path / "bench.py").write_text("print('{\"speed\": 1}')")
    argv = [sys.executable, "-m", "autotune", "run", "hangs.yaml", "--local"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        try:
            wait_until(lambda: asked.exists() or process.poll() is not None, 60)
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)  # as `timeout` does, to us and to our group
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)
            limit = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < limit:
                process.send_signal(signal.SIGTERM)  # a busy machine may tell it of the first ones only now
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
            said = process.communicate(timeout=10)[1]
        finally:
            process.kill()
    assert process.returncode == 5, said
    assert "nothing that was measured is lost" in said
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.study("hangs").state == "INTERRUPTED"
        assert [trial.state for trial in ledger.trials("hangs")] == [TrialState.COMPLETED]
    record("a second SIGTERM while an engine hangs", "P1", "exit code 5, 1 of 1 measurements there")


def test_an_error_as_json_holds_no_secret(monkeypatch, capsys):
    monkeypatch.setenv("A_TOKEN", "planted-5ecret-value-1")
    assert main(["check", "planted-5ecret-value-1.yaml", "--json"]) == 2
    shown = capsys.readouterr()
    assert "[redacted]" in shown.out
    assert "planted-5ecret" not in shown.out + shown.err


# -- the other kinds ----------------------------------------------------------------------------------

STUDY = """
name: s
parameters: {a: {type: int, low: 1, high: 9}}
system: {use: command, argv: [echo, '{a}']}
objective: {maximize: METRIC}
engine: sobol
tracking: {mlflow: none, mirrors: {MIRRORS}}
"""
OF = {
    "metric": ("autotune.metrics", ["check", "s.yaml"], {"METRIC": "broken"}),
    "mirror": ("autotune.mirrors", ["check", "s.yaml"], {"MIRRORS": "broken"}),
    "format": ("autotune.converters", ["convert", "s.yaml", "--from", "broken"], {}),
    "export format": ("autotune.exporters", ["export", "demo", "--as", "broken"], {}),
}


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    """Work in a folder with a study file and the ledger of a finished study."""
    monkeypatch.chdir(tmp_path)

    def write(**words):
        text = STUDY
        for word, name in ({"METRIC": "x", "MIRRORS": ""} | words).items():
            text = text.replace(word, name)
        (tmp_path / "s.yaml").write_text(text)

    (tmp_path / "autotune-runs").mkdir()
    with Study(SPACE, OBJECTIVE, engine="random", name="demo", path="autotune-runs/ledger.sqlite") as study:
        study.tell(study.ask(), {"x": 1.0})
    return write


@pytest.mark.parametrize("kind", OF)
def test_one_of_any_kind_is_one_error_and_in_nobody_elses_way(install, study_file, capsys, kind):
    group, argv, words = OF[kind]
    install("raise RuntimeError('no driver')", group)
    study_file(**words)
    assert main(argv) == 3
    said = capsys.readouterr().err
    assert f"{kind} 'broken' of the plug-in broken-package 1.0: broken_" in said
    assert "cannot be imported: RuntimeError: no driver" in said
    assert said.count("\n") == 2
    study_file()
    for others in (["check", "s.yaml"], ["status", "demo"], ["export", "demo", "--as", "yaml"]):
        assert main(others) == 0, capsys.readouterr().err
    (listed,) = [one for one in _registry(group).plugins() if one.name == "broken"]
    assert (listed.kind, listed.package, listed.unused) == (kind, "broken-package 1.0", "")


def _registry(group):
    return next(found for found in registries() if found.group == group)


def test_every_kind_has_a_registry_and_doctor_looks_at_each(install, tmp_path):
    kinds = {found.group: found.kind for found in registries()}
    words = {group.removeprefix("autotune.") for group in kinds}
    assert words == {"systems", "engines", "metrics", "mirrors", "exporters", "converters"}
    for group in kinds:
        install("raise RuntimeError('no driver')", group, package=f"of-{group}")
    found = {check.name: check for check in examine(tmp_path)}
    for group, kind in kinds.items():
        assert found[f"{kind} broken"].status == "warn"
        assert f"of the plug-in of-{group} 1.0" in found[f"{kind} broken"].found
    assert found["system toy"].found == "plug-in toy-system 1.0: toy_system:ToySystem"


@pytest.mark.parametrize("group", [found.group for found in registries()])
def test_a_name_of_ours_stays_ours_and_the_clash_is_told(install, group, tmp_path):
    registry = _registry(group)
    name = registry.builtin[0]
    install("raise RuntimeError('not to be imported')", group, name=name)
    assert registry.names().count(name) == 1
    assert registry.versions(name) == {}
    if registry.kind != "metric":
        registry.load(name)
    said = f"{registry.kind} {name!r} is autotune's own, and not that of the plug-in broken-package 1.0"
    assert [one.unused for one in registry.plugins() if one.name == name] == [said]
    found = {check.name: check for check in examine(tmp_path)}
    assert (found[f"{registry.kind} {name}"].status, found[f"{registry.kind} {name}"].found) == ("warn", said)


def test_a_run_tells_that_a_plug_in_has_the_name_of_its_engine(install, toy_study):
    install(engine(), name="random")
    spec = read_study(toy_study())
    (said,) = announce(spec, spec.system.built)
    assert said == "engine 'random' is autotune's own, and not that of the plug-in broken-package 1.0"


def test_two_of_one_name_are_one_error(install):
    install(engine(), package="one")
    install(engine(), package="another")
    with pytest.raises(EnvironmentProblem) as caught:
        build_engine("broken")
    assert caught.value.message == "engine 'broken' is brought by another 1.0 and one 1.0"


def test_the_version_of_an_engine_is_kept_with_what_it_proposed(install):
    install(engine(ask="return [Suggestion({'a': 1 + len(history)}, Reason.RANDOM)]"))
    study = Study(SPACE, OBJECTIVE, engine="broken")
    study.tell(study.ask(), {"x": 1.0})
    assert study.trials[0].measurement.facts["plugins"] == {"broken-package": "1.0"}
    assert circumstances(study.trials) == {"plug-in broken-package": "1.0"}
    plain = Study(SPACE, OBJECTIVE, engine="random")
    plain.tell(plain.ask(), {"x": 1.0})
    assert "plugins" not in plain.trials[0].measurement.facts


METRIC = """
from autotune.core.measurement import Estimate
from autotune.core.metric import STATISTICS, MetricInfo

class Metric:
    name = "broken"
    info = MetricInfo("broken", "s", "minimize", "of a test", STATISTICS)
    def estimates(self, samples, seed=0):
        {give}

METRIC = Metric()
"""
GIVEN = {
    "raise KeyError('x')": "failed: KeyError: 'x'",
    "return None": "gave None in place of estimates",
    "return {'ttft.p99': Estimate(1.0)}": "gave {'ttft.p99'",
    "return {'broken.p99': 1.0}": "gave {'broken.p99': 1.0}",
}


@pytest.mark.parametrize("give", GIVEN)
def test_a_metric_that_gives_nonsense_is_named_and_overrides_none_of_ours(install, give):
    install(METRIC.format(give=give), "autotune.metrics", "METRIC")
    (metric,) = plugin_metrics(["ttft.p99", "broken.p99", "broken.p50", "unheard.of"])
    with pytest.raises(EnvironmentProblem) as caught:
        summarize(SAMPLES["batches"], plugins=[metric])
    assert "metric 'broken' of the plug-in broken-package 1.0" in caught.value.message
    assert GIVEN[give] in caught.value.message


def test_a_metric_is_as_one_of_ours_in_a_study_file(install):
    install(METRIC.format(give="return {'broken.p99': Estimate(2.0, 0.1, 5, 's')}"), "autotune.metrics",
            "METRIC")  # fmt: skip
    objective = read_objective({"minimize": "broken.p50", "limits": ["broken.p99 <= 300 ms"]})
    assert objective.units == {"broken.p50": "s", "broken.p99": "s"}
    for wrong, said in (
        ("broken", "metric 'broken' needs a statistic; allowed: broken.mean"),
        ("broken.p98", "metric 'broken' has no statistic 'p98'"),
    ):
        with pytest.raises(SpecError, match=said):
            read_objective({"minimize": wrong})
    with pytest.raises(SpecError, match=r"broken.p99 is measured in s"):
        read_objective({"maximize": "x", "limits": ["broken.p99 <= 3 MB"]})
    (metric,) = plugin_metrics(["broken.p99"])
    assert summarize(SAMPLES["windows"], plugins=[metric])["broken.p99"].value == 2.0
    assert "broken.p99" not in summarize(SAMPLES["windows"])


def test_a_ledger_opens_though_its_metric_is_broken_now(install, study_file, capsys):
    install("raise RuntimeError('no driver')", "autotune.metrics")
    path = "autotune-runs/ledger.sqlite"
    with Study(SPACE, {"minimize": "broken"}, engine="random", name="old", path=path) as study:
        study.tell(study.ask(), {"broken": 1.0})
    assert main(["status", "old"]) == 0, capsys.readouterr().err
    assert main(["best", "old"]) == 0, capsys.readouterr().err


MIRROR = """
import threading
from autotune.tracking.base import MirrorReport

class Mirror:
    def __init__(self):
        self.ready = threading.Event()
    @classmethod
    def from_dict(cls, data, *, ledger, study):
        return cls()
    def start(self):
        {start}
    def notify(self):
        {notify}
    def artifacts(self, files):
        {notify}
    def close(self, timeout):
        {close}
"""
MIRRORED = {
    "raises": ("self.ready.set()", "raise OSError('store away')", "raise SystemExit(0)",
               "mirror 'broken' of the plug-in broken-package 1.0: MODULE failed: OSError: store away"),
    "hangs": ("threading.Event().wait()", "pass", "pass", "mirror 'broken' did not end in 0.2 s"),
    "nonsense": ("self.ready.set()", "pass", "return 3", "close() gave no MirrorReport"),
    "pending": ("self.ready.set()", "pass", "return MirrorReport(2, ('store away',))",
                "2 items are not in mirror 'broken' yet (store away)"),
}  # fmt: skip


@pytest.mark.parametrize("how", MIRRORED)
def test_a_study_does_not_feel_its_mirror(install, tmp_path, caplog, how):
    start, notify, close, said = MIRRORED[how]
    install(MIRROR.format(start=start, notify=notify, close=close), "autotune.mirrors", "Mirror")
    seconds = 0.2 if how == "hangs" else 60.0
    with Study(SPACE, OBJECTIVE, engine="random", path=tmp_path / "ledger.sqlite") as study:
        mirror = start_mirror(Tracking.from_dict({"mlflow": "none", "mirrors": {"broken": None}}), study)
        assert mirror.ready.wait(seconds) is (how != "hangs")
        for _ in range(3):
            study.tell(study.ask(), {"x": 1.0})
            mirror.notify()
        mirror.artifacts({})
        assert mirror.close(seconds) == mirror.close(seconds) == MirrorReport(0)
    told = [re.sub(r"broken_\w+:Mirror", "MODULE", record.getMessage()) for record in caplog.records]
    assert len(told) == 1
    assert said in told[0]


def test_a_mirror_that_is_unknown_is_one_error_with_the_nearest_name(install, study_file, capsys):
    install(MIRROR.format(start="pass", notify="pass", close="pass"), "autotune.mirrors", "Mirror")
    study_file(MIRRORS="brokn")
    assert main(["check", "s.yaml"]) == 2
    assert "s.yaml:7:" in (said := capsys.readouterr().err)
    assert "unknown mirror 'brokn'; allowed: mlflow, broken\n  did you mean 'broken'?" in said
    study_file(MIRRORS="mlflow: {}")
    assert main(["check", "s.yaml"]) == 2
    assert "mlflow has a key of its own" in capsys.readouterr().err


CONVERTER = """
from autotune.convert.base import Conversion

class Lines:
    def recognizes(self, document):
        return "lines" in document.data
    def convert(self, document):
        found = Conversion(document)
        for name, values in document.data["lines"].items():
            found.add(("lines", name), name, found.listed(("lines", name), values))
        return found.finish()

LINES = Lines()
"""


def test_a_converter_is_asked_once_none_of_ours_knows_the_file(install, tmp_path):
    install(CONVERTER, "autotune.converters", "LINES", name="lines")
    install("raise RuntimeError('no driver')", "autotune.converters", package="other")
    (tmp_path / "x.yaml").write_text("lines: {batch: [1, 2, 4]}\n")
    assert convert(str(tmp_path / "x.yaml")).study["parameters"]["batch"]["values"] == [1, 2, 4]
    (tmp_path / "y.yaml").write_text("a: 1\n")
    with pytest.raises(
        SpecError, match=r"vllm-sweep, broken, lines; format 'broken' of the plug-in other 1.0"
    ):
        convert(str(tmp_path / "y.yaml"))
