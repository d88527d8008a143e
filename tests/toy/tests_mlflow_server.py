"""An MLflow server that tests share, or kill."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

from tests_shared import wait_until


class Server:
    """A real MLflow server with a database of its own, that can be killed and started again.

    Args:
        folder: Of its database, its artifacts and its log.
        store: Database that its own is a copy of: making the tables takes seconds.
    """

    def __init__(self, folder, store):
        self.folder = folder
        shutil.copy(store, folder / "server.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        argv = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri"]
        argv += [f"sqlite:///{self.folder}/server.db", "--host", "127.0.0.1", "--port", str(self.port)]
        argv += ["--workers", "1", "--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self.answers, 120)

    def answers(self):
        assert self.process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def runs(self, experiment):
        """Return the active runs of an experiment by name, without the words that follow it, each once."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self.uri)
        found = client.get_experiment_by_name(experiment)
        runs = list(client.search_runs([found.experiment_id], max_results=1000))
        by_name = {
            (run.data.tags["autotune.study"], run.info.run_name.partition(" ")[0]): run for run in runs
        }
        assert len(by_name) == len(runs), "two runs of one name"
        return by_name
