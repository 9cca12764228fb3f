import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from tinygrad_rnn.files import claimed, read_file, write_file


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two"):
        assert write_file(path, content) == path
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert stat.S_IMODE(write_file(tmp_path / "file", b"").stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_file(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        write_file(path, "no bytes")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write .*missing.file: No such file"):
        write_file(tmp_path / "missing" / "file", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*folder"):
        write_file(tmp_path / "folder", b"")
    assert os.listdir(tmp_path) == ["folder"]
    if os.path.isdir("/proc"):  # a folder that takes no files
        with pytest.raises(OSError, match="cannot write /proc/file"):
            write_file("/proc/file", b"")


def test_a_name_that_no_file_can_have_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot write '.*a\\x00b'"):
        write_file(tmp_path / "a\0b", b"content")
    assert not list(tmp_path.iterdir())


def test_an_interrupt_after_the_move_is_an_interrupt(tmp_path, monkeypatch):
    move = os.replace

    def interrupted(source, target):
        move(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a", b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"whole")]


def test_what_is_behind_a_link_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to("there/file")
    for content in (b"new", b"again"):
        write_file(link, content)
        assert link.is_symlink() and (tmp_path / "there" / "file").read_bytes() == content
    assert os.listdir(tmp_path / "there") == ["file"]


def test_a_fifo_and_a_device_are_written_to_as_they_are(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no FIFOs here")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "null").symlink_to("/dev/null")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "fifo").read_bytes)
        write_file(tmp_path / "fifo", b"through")
        assert read.result(timeout=10) == b"through"
    write_file(tmp_path / "null", b"gone")
    assert (tmp_path / "fifo").is_fifo() and (tmp_path / "null").is_symlink() and os.path.exists("/dev/null")
    assert sorted(os.listdir(tmp_path)) == ["fifo", "null"]


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o644])
def test_a_file_that_is_there_keeps_its_permissions(tmp_path, mode):
    path = write_file(tmp_path / "file", b"one")
    path.chmod(mode)
    write_file(path, b"two")
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == b"two"


def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path):
    assert write_file(tmp_path / ("x" * 255), b"content").read_bytes() == b"content"


def test_of_a_file_with_two_names_the_other_keeps_what_it_had(tmp_path):
    os.link(write_file(tmp_path / "a", b"old"), tmp_path / "b")
    write_file(tmp_path / "b", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_many_write_one_file_at_a_time_and_each_whole(tmp_path):
    contents = [bytes([i]) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for path in pool.map(lambda content: write_file(tmp_path / "file", content), contents * 20):
            assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["file"]


def test_what_has_no_end_is_not_read(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path in (tmp_path / "zero", tmp_path):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_file(path)


def test_a_folder_is_claimed_by_one_at_a_time(tmp_path):
    pytest.importorskip("fcntl", reason="folders are not locked here")
    told = pytest.raises(ValueError, match=r"another run is going on in .*new: wait")
    with claimed(tmp_path / "new"), told, claimed(tmp_path / "new"):
        pass
    with claimed(tmp_path / "new"):
        assert os.listdir(tmp_path / "new") == []
