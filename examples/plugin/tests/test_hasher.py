"""The system keeps the contract of a system, and each parameter changes what runs."""

from autotune_example.hasher import Hasher

from autotune.testing.system_contract import NOWHERE, SystemContract


class TestHasher(SystemContract):
    """Everything that a system must keep."""

    kind = Hasher
    section = {"use": "hasher", "megabytes": 1}  # noqa: RUF012 - the contract declares it
    configs = ({"algorithm": "md5"}, {"algorithm": "sha256", "chunk": 64})

    def test_each_parameter_reaches_the_command(self):
        """A flag that changes nothing wastes every trial that varies it."""
        first, second = (
            self.system.command({"algorithm": name, "chunk": 64}, NOWHERE) for name in ("md5", "sha1")
        )
        assert first.argv != second.argv
        assert '"chunk": 64' in first.argv[-1]
