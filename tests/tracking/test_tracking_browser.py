"""What somebody sees who opens MLflow's page on a study, in a real browser, whatever the store."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from autotune.core.measurement import Cause
from autotune.core.trial import Reason, TrialState
from autotune.ledger import Ledger
from autotune.report.html import write_report
from autotune.study.reading import read_view
from autotune.tracking.items import DEPLOYMENT
from autotune.tracking.mlflow import study_link, sync
from autotune.tracking.mlflow_addresses import opened_address

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.usefixtures("environment_restored"),
    pytest.mark.browser,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
OLDEST = os.environ.get("AUTOTUNE_OLDEST_MLFLOW", "")
"""Python with the oldest MLflow that we admit, of which `make test-oldest-mlflow` makes one."""

SECONDS = 90  # for a page, on a busy machine
REPORT = "<html><h1 id=said></h1><script>said.textContent = 'token: \"' + 'reported\"'</script></html>"
QUIET = (
    "users/current",  # what MLflow's own page asks for in vain
    # its charts, where they are drawn before they have a size
    "<g> attribute transform",
    "<path> attribute",
    "<rect> attribute",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--window-size=2200,1600", f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def until(browser, script, what):
    """Wait until a script of the page returns something true, and return it."""
    limit = time.monotonic() + SECONDS
    while time.monotonic() < limit:
        if found := browser.execute_script(script):
            return found
        time.sleep(0.2)
    browser.save_screenshot("/tmp/autotune-browser.png")
    raise AssertionError(f"{what} did not appear; {browser.current_url}")


def fill(path, make, folder):
    """Put a study with every kind of trial into a ledger, ended, with a winner that can be deployed."""
    done, at_fault = TrialState.COMPLETED, TrialState.INFEASIBLE
    with Ledger.open(path) as ledger, ledger.lock_study(make.name):
        make.create(ledger)
        make.run_trial(ledger, 0, make.suggestion(), make.measured(100.0, 0), done)
        better = make.suggestion(2, reason=Reason.EXPLOIT)
        make.run_trial(ledger, 1, better, make.measured(150.0, 1), done)
        broken = make.failed(Cause.OUT_OF_MEMORY, "did not fit", 2)
        make.run_trial(ledger, 2, make.suggestion(64, reason=Reason.EXPLORE), broken, at_fault)
        slow = make.measured(900.0, 3, latency=2.0)
        make.run_trial(ledger, 3, make.suggestion(8, reason=Reason.EXPLORE), slow, done)
        note = {"trial": 1, "line": "serve --batch-size 2", "argv": ["serve", "--batch-size", "2"]}
        ledger.set_study_note(make.name, DEPLOYMENT, note)
        ledger.set_study_state(make.name, "COMPLETED")
        uid = ledger.study(make.name).uid
    (folder / "report.html").write_text(REPORT, encoding="utf-8")
    return uid, {"report.html": folder / "report.html"}


def serve(make, start_server, folder, uri, python=sys.executable):
    port = make.free_port()
    argv = make.server_argv(uri, port, folder)
    return start_server([python, *argv[1:]], folder, port).wait()


def server_version(server):
    with urllib.request.urlopen(f"{server.uri}/version", timeout=30) as answer:
        return answer.read().decode()


oldest = pytest.param(
    "oldest", marks=pytest.mark.skipif(not OLDEST, reason="AUTOTUNE_OLDEST_MLFLOW names none")
)


@pytest.mark.parametrize(
    "kind", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("database", "files")), oldest]
)
def test_a_study_opens_on_its_runs(kind, tmp_path, make, empty_store, start_server, browser, monkeypatch):
    if kind == "files":
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # also for the server
        uri = str(tmp_path / "mlruns")
    else:
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        if kind != "oldest":  # which makes its own tables
            shutil.copy(empty_store, tmp_path / "mlflow.db")
    server = serve(make, start_server, tmp_path, uri, OLDEST if kind == "oldest" else sys.executable)
    opens_on_its_runs(server.uri if kind == "oldest" else uri, server, tmp_path, make, browser)


def test_a_study_of_a_server_opens_on_its_runs(tmp_path, make, mlflow_server, browser):
    opens_on_its_runs(mlflow_server.uri, mlflow_server, tmp_path, make, browser)


def opens_on_its_runs(uri, server, tmp_path, make, browser):
    """See what a browser shows of a study in the store at an address, as the server gives it."""
    uid, files = fill(tmp_path / "ledger.db", make, tmp_path)
    sync(tmp_path / "ledger.db", make.name, tracking_uri=uri, experiment="opened", files=files)

    link = study_link(uri, server.uri, "opened", uid)
    browser.get_log("browser")
    browser.get(link)
    names = until(
        browser,
        "const found = [...document.querySelectorAll('.ag-row a')].map(a => a.textContent);"
        "return found.length >= 5 && found",
        "the runs",
    )
    assert names[:3] == ["trial-0003 over limit", "trial-0001 best", "trial-0000 default"], "best first"
    assert set(names[3:]) == {"trial-0002 out of memory", "chat"}
    until(
        browser,
        "return document.body.innerText.includes('best.throughput')"
        " && document.querySelector('.js-plotly-plot')",
        "the charts",
    )
    axes = until(
        browser,
        "const found = [...document.querySelectorAll('.dimension .label')].map(l => l.textContent);"
        "return found.length && found",
        "parallel coordinates",
    )
    assert axes == ["batch_size", "latency.p99", "throughput"]  # `half` never varied

    browser.get("about:blank")  # a page of its own, not a step within the one that is there
    browser.get(link.replace("CHART", "TABLE"))
    columns = until(
        browser,
        "const found = [...document.querySelectorAll('.ag-header-cell')]"
        ".sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x)"
        ".map(c => c.textContent.trim()).filter(Boolean);"
        "return found.includes('half') && found",
        "the columns",
    )
    first = [name for name in columns if name not in ("Run Name", "Created", "Duration")][:4]
    if server_version(server).startswith("3.0."):  # it orders columns by name within metrics and parameters
        first[:2], first[2:] = sorted(first[:2], reverse=True), sorted(first[2:])
    assert first == ["throughput", "latency.p99", "batch_size", "half"]

    run = run_of(uri, "opened")
    browser.get(
        f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/report.html"
    )
    shown(browser, """return document.body.innerText.includes('token: "reported"')""")
    if server_version(server).startswith("3.0."):  # its charts report errors of their own
        return
    wrong = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [message for message in wrong if not any(known in message for known in QUIET)]


def run_of(uri, experiment):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=opened_address(uri))
    found = client.get_experiment_by_name(experiment)
    (run,) = client.search_runs([found.experiment_id], "tags.mlflow.runName = 'chat'")
    return run


def shown(browser, script):
    """Wait until a script of the page that the artifact viewer shows returns something true."""
    until(browser, "return document.querySelector('iframe')", "the artifact's frame")
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    try:
        until(browser, script, "the artifact")
    finally:
        browser.switch_to.default_content()


@pytest.mark.slow
def test_a_copied_folder_opens_with_its_artifacts(tmp_path, make, empty_store, browser, monkeypatch):
    """`autotune ui` prints the link once the server answers; its store lies where it was copied to."""
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "autotune-runs").mkdir(parents=True)
    shutil.copy(empty_store, here / "mlflow.db")
    monkeypatch.chdir(here)
    ledger, store = here / "autotune-runs" / "ledger.sqlite", "sqlite:///mlflow.db"
    fill(ledger, make, tmp_path)
    with Ledger.open(ledger, read_only=True) as opened:
        view = read_view(opened, opened.study(make.name))
    files = {"report.html": write_report(view, tmp_path / "report.html")}
    sync(ledger, make.name, tracking_uri=store, experiment=make.name, files=files)
    run = run_of(store, make.name)
    assert run.info.artifact_uri == f"mlartifacts/{make.name}/{run.info.run_id}/artifacts"
    here.rename(there)
    monkeypatch.chdir(there)

    argv = [sys.executable, "-m", "autotune", "ui", make.name, "--no-open", "--port", str(make.free_port())]
    with (
        (tmp_path / "ui.log").open("wb") as log,
        subprocess.Popen(argv, cwd=there, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            link = printed_link(tmp_path / "ui.log", process)
            assert "starting MLflow at " in (tmp_path / "ui.log").read_text()
            folder = f"{link.partition('#')[0]}#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            browser.get(f"{folder}/artifacts/report.html")
            shown(browser, "return document.body.innerText.includes('completed, 4 trials')")
            for name in ("comparison", "progress"):
                browser.get(f"{folder}/artifacts/plots/{name}.html")
                shown(browser, "return document.querySelector('.main-svg .scatterlayer .point')")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert not any(Path("/proc").joinpath(pid).exists() for pid in children_of(process.pid))


def children_of(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return found.read_text().split() if found.exists() else []


def printed_link(log, process):
    limit = time.monotonic() + SECONDS
    while time.monotonic() < limit:
        if found := re.search(r"http://\S+viewStateShareKey=\S+", log.read_text()):
            return found[0]
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(log.read_text())
