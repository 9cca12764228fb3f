import os
import stat

import pytest

from tinygrad_rnn.files import write_file


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
