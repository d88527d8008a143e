"""The format keeps the contract of an export format."""

import pytest
from autotune_example.nomad import Nomad

from autotune.testing.exporter_contract import ExporterContract, export_of


class TestNomad(ExporterContract):
    """Everything that a format must keep."""

    @pytest.fixture
    def exporter(self):
        """Give the format."""
        return Nomad()


def test_a_server_is_a_task_in_its_container():
    """The image and every word of the command are in the job."""
    text = Nomad().export(export_of("vllm"))
    assert 'image        = "registry.example/server:1"' in text
    assert '"--max-num-seqs", "64"' in text
