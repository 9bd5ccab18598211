"""What the environment says is checked where it is read."""

import pytest

from graphc import config
from graphc.errors import GraphcError


def test_a_dump_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path / "a" / "b"))
    assert config.dump_directory() == tmp_path / "a" / "b" and (tmp_path / "a" / "b").is_dir()
    monkeypatch.setenv("GRAPHC_DUMP", " ")
    assert config.dump_directory() is None


def test_a_dump_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path / "file"))
    with pytest.raises(GraphcError, match=r"GRAPHC_DUMP: cannot make the folder .*file"):
        config.dump_directory()
