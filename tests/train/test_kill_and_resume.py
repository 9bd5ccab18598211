"""A run killed by SIGKILL at any moment goes on to the same bits: variables, history and logs.

GRAPHC_KILLS sets how many runs are killed (6 unless it says otherwise).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("resumable.py")
KILLS = os.environ.get("GRAPHC_KILLS", "6")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked")


def run(*arguments: str) -> str:
    result = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    result = json.loads(run("kill", KILLS, str(tmp_path)))
    assert len(result["digests"]) == int(KILLS)
    assert set(result["digests"]) == {result["reference"]}, f"killed at or after steps {result['steps']}"
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    begun = subprocess.Popen([sys.executable, SCRIPT, "once", fresh], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (fresh / "run.safetensors").exists() and begun.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    begun.send_signal(signal.SIGKILL)
    begun.wait(60)
    assert (fresh / "run.safetensors").exists()
    assert run("once", str(fresh)).strip() == result["reference"]  # another process, another compilation
