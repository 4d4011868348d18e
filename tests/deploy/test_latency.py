import time

import numpy as np

from fer_lab.deploy.latency import measure, measure_once
from fer_lab.deploy.runtimes import Classifier


class Sleeper(Classifier):
    def __init__(self, name: str, seconds: float, calls: list[str]):
        self.name, self.seconds, self.calls = name, seconds, calls

    def run(self, faces):
        raise AssertionError("latency is measured through probabilities()")

    def probabilities(self, faces):
        self.calls.append(self.name)
        time.sleep(self.seconds)
        return faces


def test_rounds_are_interleaved_and_numbers_are_milliseconds() -> None:
    calls: list[str] = []

    def loader(name: str, seconds: float):
        def load() -> Sleeper:
            time.sleep(0.003)
            return Sleeper(name, seconds, calls)

        return load

    faces = np.zeros((2, 8, 8, 1), np.uint8)
    measured = measure({"a": loader("a", 0.001), "b": loader("b", 0.004)}, faces, rounds=2, warmup=1, iterations=3)
    one_round = ["a"] * 5 + ["b"] * 5  # the first, one warm-up, three timed
    assert calls == ["a", "b", *one_round, *one_round]
    assert 1 <= measured["a"]["latency_ms_median"] < measured["b"]["latency_ms_median"]
    assert measured["b"]["latency_ms_median"] >= 4
    assert all(row["load_ms"] >= 3 and row["latency_ms_p95"] >= row["latency_ms_median"] for row in measured.values())
    assert measured["b"]["fps"] == 2000 / measured["b"]["latency_ms_median"]  # two faces a call


def test_a_real_file_gives_sane_numbers(fp32_file, faces) -> None:
    row = measure_once(lambda: Classifier.load(fp32_file), faces[:1], warmup=2, iterations=10)
    assert 0 < row["latency_ms_median"] <= row["latency_ms_p95"] < 1000
    assert row["load_ms"] > row["latency_ms_median"]
