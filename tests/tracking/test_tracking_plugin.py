"""Mirrors that plug-ins bring: the contract by a simple one, and one that a study file names."""

import json

import pytest

from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.study.tune import tune
from autotune.testing.mirror_contract import MirrorContract
from file_mirror import FileMirror

SPACE = Space((Int("a", 1, 9),))


class TestFileMirror(MirrorContract):
    def make(self, ledger, study):
        return FileMirror.from_dict({"folder": str(ledger.parent)}, ledger=ledger, study=study)

    def copied(self, ledger, study):
        return [int(path.stem) for path in ledger.parent.glob("*.copied")]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The mirror as a package that is installed."""
    info = tmp_path / "site" / "file_mirror-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: file-mirror\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[autotune.mirrors]\nfiles = file_mirror:FileMirror\n")
    monkeypatch.syspath_prepend(tmp_path / "site")


def search(folder, mirrors):
    return tune(
        SPACE, lambda config: {"x": config["a"]}, {"maximize": "x"}, trials=3, engine="random",
        path=folder / "ledger.sqlite", mlflow={"mlflow": "none", "mirrors": mirrors},
    )  # fmt: skip


def test_a_study_is_copied_by_the_mirror_that_it_names(installed, tmp_path, caplog):
    (tmp_path / "copies").mkdir()
    study = search(tmp_path, {"files": {"folder": str(tmp_path / "copies")}})
    assert {path.name for path in (tmp_path / "copies").iterdir()} >= {"0.copied", "1.copied", "2.copied"}
    for trial in study.trials:
        copied = json.loads((tmp_path / "copies" / f"{trial.number}.copied").read_text())
        assert copied == trial.measurement.to_dict()
    assert not [record for record in caplog.records if "mirror" in record.getMessage()]


def test_a_wrong_option_is_told_before_anything_is_measured(installed, tmp_path):
    with pytest.raises(SpecError, match="a file mirror has no option 'foldr'") as caught:
        search(tmp_path, {"files": {"foldr": "x"}})
    assert caught.value.path == ("mirrors", "files", "foldr")
