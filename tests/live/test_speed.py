"""The speed script runs, and memory does not grow while it does."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "speed" / "live_pipeline.py"


@pytest.fixture
def script() -> Any:
    if not SCRIPT.exists():
        pytest.skip("experiments/speed is not part of this copy")
    spec = importlib.util.spec_from_file_location("live_pipeline", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_memory_is_flat_while_frames_come(script, model, tmp_path):
    # a minute here, half an hour by hand with --minutes 30; the cascade is slow, so frames are dropped all the time
    words = ["--model", str(model), "--minutes", "1", "--seconds", "5", "--width", "320", "--store", str(tmp_path)]
    found = script.main([*words, "--detect-every", "3"])[3]
    assert found["throughput"]["dropped"] == 0
    assert found["throughput"]["frames"] > 10
    memory = found["camera"]["rss_mb"]
    assert max(memory) - memory[0] < 5
    assert found["camera"]["stored"] > 10
    assert list(tmp_path.iterdir()) == []
