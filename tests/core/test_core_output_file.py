"""Files that a person names to be written."""

import stat

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
