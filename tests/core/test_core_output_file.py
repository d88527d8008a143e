"""Files that a person names to be written."""

import os
import stat

import pytest

from autotune.core.output_file import write_whole


def test_what_is_written_again_keeps_its_mode(tmp_path):
    path = tmp_path / "report.html"
    write_whole(path, b"first")
    usual = stat.S_IMODE(path.stat().st_mode)
    for mode in (0o600, 0o640, usual):
        path.chmod(mode)
        write_whole(path, b"second")
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"second"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("leads_to", ["/dev/full", "folder", "report.html", "absent"])
def test_what_takes_the_place_of_a_link_to_no_file_has_the_mode_of_a_new_file(tmp_path, leads_to):
    (tmp_path / "folder").mkdir(mode=0o777)
    path = tmp_path / "report.html"
    path.symlink_to(leads_to)
    umask = os.umask(0o022)
    try:
        write_whole(path, b"report")
    finally:
        os.umask(umask)
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_bytes() == b"report"


def test_what_takes_the_place_of_a_link_to_an_owners_file_stays_the_owners(tmp_path):
    own = tmp_path / "own.html"
    own.write_bytes(b"first")
    own.chmod(0o600)
    path = tmp_path / "report.html"
    path.symlink_to(own.name)
    write_whole(path, b"second")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert own.read_bytes() == b"first"
