"""The system whose server is toy_server.py; registered by an entry point, as a third party's would be."""

import json
import sys
from pathlib import Path

from autotune.core.measurement import Cause, Failure
from autotune.systems.base import Command
from autotune.systems.diagnosis import diagnose
from autotune.systems.transformers.driver import connect


class ToySystem:
    name = "toy"

    def __init__(self, step="0.001"):
        self.step = step

    @classmethod
    def from_dict(cls, data):
        return cls(**data)

    def to_dict(self):
        return {"step": self.step}

    def prepare(self, log):
        log("toy: nothing to prepare")

    def parameters(self):
        return None

    def check(self, config):
        if config.get("mode") == "refused":
            return Failure(Cause.REJECTED_FLAGS, "toy refuses mode refused")
        return None

    def prepare_node(self):
        pass

    def batch_size(self, config):
        return int(config.get("batch_size", 1))

    def resources(self, config):
        return {"cpus": 1.0}

    def command(self, config, scratch):
        server = Path(__file__).with_name("toy_server.py")
        return Command((sys.executable, str(server), json.dumps(config), self.step))

    def connect(self, scratch, deadline):
        return connect(scratch)

    def diagnose(self, exit_code, log):
        return diagnose(exit_code, log)

    def deploy(self, config):
        return ["toy", json.dumps(config, sort_keys=True)]


class ToyFormat:
    """A format of a third party's."""

    def refuses(self, export):
        return ""

    def export(self, export):
        return f"{export.study}: {export.config}\n"
