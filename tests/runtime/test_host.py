"""What the runtime finds out about the machine."""

import pytest

from graphc.errors import CallError, GraphcError
from graphc.runtime import host


def test_threads_are_what_was_asked_for(monkeypatch):
    monkeypatch.setenv("GRAPHC_THREADS", "5")
    assert host.thread_count(3) == 3
    assert host.thread_count() == host.thread_count(None, 2) == 5
    monkeypatch.delenv("GRAPHC_THREADS")
    assert host.thread_count(None, 2) == 2


@pytest.mark.parametrize("text", ["none", "0", "-2", "1.5"])
def test_a_senseless_setting_is_refused(monkeypatch, text):
    monkeypatch.setenv("GRAPHC_THREADS", text)
    with pytest.raises(GraphcError, match="GRAPHC_THREADS"):
        host.thread_count()


@pytest.mark.parametrize("wanted", [0, -1, 1.5])
def test_a_senseless_number_is_refused(wanted):
    with pytest.raises(CallError, match=f"threads={wanted}: expected at least 1"):
        host.thread_count(wanted)


def test_threads_follow_affinity_and_quota(monkeypatch):
    monkeypatch.delenv("GRAPHC_THREADS", raising=False)
    monkeypatch.setattr(host, "_affinity", lambda: 8)
    monkeypatch.setattr(host, "quota", lambda: None)
    assert host.thread_count() == 8
    monkeypatch.setattr(host, "quota", lambda: 3)
    assert host.thread_count() == 3


@pytest.mark.parametrize("text, expected", [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("junk", None)])
def test_the_quota_of_version_two_rounds_up(tmp_path, text, expected):
    (tmp_path / "cpu.max").write_text(text)
    assert host.quota(str(tmp_path), str(tmp_path / "none")) == expected


def test_the_tightest_group_counts(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "cpu.max").write_text("200000 100000")
    (inner / "cpu.max").write_text("400000 100000")
    (tmp_path / "own").write_text("0::/a/b\n")
    assert host.quota(str(tmp_path), str(tmp_path / "own")) == 2


def test_the_quota_of_version_one(tmp_path):
    folder = tmp_path / "cpu" / "job"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("300000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "own").write_text("3:memory:/job\n4:cpu:/job\n")
    assert host.quota(str(tmp_path), str(tmp_path / "own")) == 3
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert host.quota(str(tmp_path), str(tmp_path / "own")) is None


def test_required_features_are_those_code_can_depend_on():
    triple = "x86_64-unknown-linux-gnu"
    assert host.required_features(triple, "x", "+avx2,-fma,+prfchw") == ("avx2",)
    level = host.required_features(triple, "x86-64-v3", "-fma")
    assert "avx2" in level and "fma" not in level and "avx512f" not in level
    assert host.required_features("riscv64-linux", "x", "+v") == ()


def test_missing_features_use_the_names_of_the_system(monkeypatch):
    triple = "x86_64-unknown-linux-gnu"
    monkeypatch.setattr(host, "cpu_flags", lambda: frozenset({"sse4_2", "abm"}))
    assert host.missing_features(triple, ("avx2", "lzcnt", "sse4.2")) == ("avx2",)
    monkeypatch.setattr(host, "cpu_flags", lambda: None)
    assert host.missing_features(triple, ("avx2",)) == ()


def test_flags_are_read_from_the_first_processor(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\nmodel name : Some CPU\nflags : fma avx2\n\nprocessor : 1\nflags : none\n")
    assert host.cpu_flags(str(path)) == {"fma", "avx2"}
    assert host.cpu_name(str(path)) == "Some CPU"
    assert host.cpu_flags(str(tmp_path / "missing")) is None
