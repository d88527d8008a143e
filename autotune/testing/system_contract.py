"""What every system must keep; inherit it to test one of your own. Nothing is launched.

.. code-block:: python

    class TestMySystem(SystemContract):
        kind = MySystem
        section = {"use": "mine", "model": "m"}
        configs = ({"batch_size": 1}, {"batch_size": 8})

What runs for real is for tests of the system's own: that each parameter changes what really runs, that it is
ready, answers and ends.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from autotune.core.json_object import JsonObject
from autotune.core.measurement import Cause, Failure
from autotune.core.trial import Config
from autotune.errors import SpecError
from autotune.systems.base import Reusable, System
from autotune.systems.deployment import deployment
from autotune.systems.registry import build_system

NOWHERE = Path("/nonexistent/attempt")
"""Stands for the folder of an attempt where a command is only shown."""

LOGS = (
    "",
    "\n",
    "x",
    "\x00\x1b[31mred\x1b[0m\ufffd",
    "Traceback (most recent call last):\n  ...\nKeyError: 'x'\n",
)
CODES = (None, 0, 1, 2, 127, 137, 255, -2, -6, -9, -11, -15)


class SystemContract:
    """Contract suite of a system; a subclass gives the section of a study file and configurations.

    Attributes:
        section: Section with ``use``.
        kind: Class of the system; ``None`` for the one that is registered by the section's name.
        configs: Configurations that the system takes, two or more; they differ in what is launched.
        alike: Two that differ in their requests only, for a system that can be reused.
    """

    section: ClassVar[JsonObject]
    configs: ClassVar[Sequence[Config]]
    kind: ClassVar[type[System] | None] = None
    alike: ClassVar[Sequence[Config]] = ()

    def build(self, section: JsonObject) -> System:
        """Build the system of a section."""
        if self.kind is None:
            return build_system(section)
        return self.kind.from_dict({key: value for key, value in section.items() if key != "use"})

    @property
    def system(self) -> System:
        """The system under test."""
        return self.build(self.section)

    def test_the_section_is_written_as_it_is_read(self) -> None:
        written = self.system.to_dict()
        assert json.loads(json.dumps(written)) == written
        assert self.system.from_dict(written).to_dict() == written

    def test_a_key_that_is_unknown_is_named(self) -> None:
        with pytest.raises(SpecError, match="no_such_key"):
            self.build({**self.section, "no_such_key": "1"})

    def test_a_parameter_that_is_unknown_is_known_to_be(self) -> None:
        known = self.system.parameters()
        if known is None:
            return
        assert "no_such_parameter" not in known, "a study file that has it is refused"
        failure = self.system.check({**self.configs[0], "no_such_parameter": 1})
        if failure is not None:
            assert failure.cause is Cause.REJECTED_FLAGS
            assert "no_such_parameter" in failure.message

    def test_every_configuration_is_taken(self) -> None:
        for config in self.configs:
            assert self.system.check(config) is None
            known = self.system.parameters()
            assert known is None or set(config) <= set(known)

    def test_a_command_is_a_list_of_words(self) -> None:
        for config in self.configs:
            command = self.system.command(config, NOWHERE)
            if command is None:
                continue
            argv, env = command.argv, command.env
            assert argv
            assert all(isinstance(word, str) for word in argv)
            assert all(isinstance(name, str) and isinstance(text, str) for name, text in env.items())
            assert not any("\0" in word for word in (*argv, *env, *env.values()))

    def test_what_deploys_it_is_a_list_of_words(self) -> None:
        for config in self.configs:
            found = deployment(self.system, config, ())
            assert all(isinstance(word, str) for word in found.words)
            assert found == deployment(self.system, config, ())
            assert json.loads(json.dumps(found.to_dict())) == found.to_dict()

    def test_a_command_that_is_deployed_runs_from_any_folder(self) -> None:
        for config in self.configs:
            found = deployment(self.system, config, ())
            program = found.argv[0] if found.argv else "/"
            assert program.startswith("/") or "/" not in program  # a name, where it is not on this machine
            assert shutil.which(program) in (None, program)
            assert found.folder.startswith("/") or not found.folder

    def test_resources_are_counts(self) -> None:
        for config in self.configs:
            found = self.system.resources(config)
            assert set(found) <= {"cpus", "gpus"}
            assert all(amount >= 0 for amount in found.values())
            assert self.system.batch_size(config) >= 1

    def test_every_death_has_a_cause(self) -> None:
        for code in CODES:
            for log in LOGS:
                found = self.system.diagnose(code, log)
                assert isinstance(found, Failure)
                assert found.message
                assert "\n" not in found.message

    def test_memory_that_ran_out_is_known(self) -> None:
        if self.system.command(self.configs[0], NOWHERE) is None:
            return
        log = "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes.\n"
        assert self.system.diagnose(1, log).cause is Cause.OUT_OF_MEMORY
        full = self.system.diagnose(1, "OSError: [Errno 28] No space left on device\n")
        assert full.cause is Cause.DISK_FULL

    def test_only_configurations_that_launch_the_same_share_a_launch(self) -> None:
        system = self.system
        if not isinstance(system, Reusable):
            assert not self.alike
            return
        keys = [system.launch_key(config) for config in self.configs]
        assert len(set(keys)) == len(keys)
        assert keys == [system.launch_key(dict(config)) for config in self.configs]
        assert len({system.launch_key(config) for config in self.alike}) <= 1
