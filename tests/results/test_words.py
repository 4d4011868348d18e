import json

from fer_lab.results.words import caption, cautions, count, summary


def test_counts_in_words():
    assert [count(1, "seed"), count(3, "seed"), count(25, "seed")] == ["one seed", "three seeds", "25 seeds"]


def test_one_row_and_one_seed_claims_nothing(run_factory, gather):
    run_factory("demo_a", 0)
    text = " ".join(summary(gather(["demo_a"], [0])))
    assert "one recipe" in text
    assert "(a single seed)" in text
    assert "nothing to compare it with yet" in text
    assert "With one seed this is an indication, not evidence" in text
    assert "±" not in text
    assert "best" not in text


def test_a_gain_over_the_baseline_is_said_with_its_seeds(run_factory, gather):
    for seed in range(3):
        run_factory("demo_a", seed, recall=0.5)
        run_factory("demo_b", seed, recall=0.9)
    text = " ".join(summary(gather(["demo_a", "demo_b"], [0, 1, 2])))
    assert "The best, demo_b, reaches a macro-F1 of 0." in text
    assert "more than the baseline demo_a, over the three seeds both have" in text
    assert "With three seeds this is an indication, not evidence" in text


def test_five_seeds_need_no_warning(run_factory, gather):
    for seed in range(5):
        run_factory("demo_a", seed, recall=0.5)
        run_factory("demo_b", seed, recall=0.9)
    results = gather(["demo_a", "demo_b"], list(range(5)))
    assert "indication" not in " ".join(summary(results))
    assert cautions(results) == []


def test_a_difference_within_its_own_spread_is_called_that(run_factory, gather):
    for seed, (baseline, other) in enumerate([(0.5, 0.9), (0.9, 0.7)]):
        run_factory("demo_a", seed, recall=baseline)
        run_factory("demo_b", seed, recall=other)
    assert "no more than the difference itself varies from seed to seed" in " ".join(
        summary(gather(["demo_a", "demo_b"], [0, 1]))
    )


def test_missing_rows_and_a_missing_baseline_are_said(run_factory, gather):
    run_factory("demo_b", 0)
    run_factory("demo_c", 0, status="failed", error="x", metrics={})
    text = " ".join(summary(gather(["demo_a", "demo_b", "demo_c"], [0])))
    assert "cannot be said: the baseline demo_a is not run" in text
    assert "Without a result: demo_a (not run), demo_c (failed)." in text


def test_nothing_has_run_yet(gather):
    assert summary(gather(["demo_a", "demo_b"], [0]))[-1] == (
        "There is no result yet: demo_a (not run), demo_b (not run)."
    )


def test_folds_are_called_so_and_each_has_data_of_its_own(tmp_path, run_factory, gather):
    for row in ("demo_a", "demo_b"):
        for seed in (0, 1):
            record = run_factory(row, seed, data_hash=f"fold-{seed}")
            record["data"] |= {"hash": f"fold-{seed}", "split": {"method": f"fold {seed} of 5"}}
            (tmp_path / row / f"seed{seed}" / "record.json").write_text(json.dumps(record))
    results = gather(["demo_a", "demo_b"], [0, 1])
    said = caption(results)
    assert said[0].startswith("Mean ± standard deviation over n folds;")
    assert sum("of 5: " in sentence for sentence in said) == 2
    assert not any("same data manifest" in sentence for sentence in said)
    record = json.loads((tmp_path / "demo_b" / "seed1" / "record.json").read_text()) | {"data_hash": "another"}
    (tmp_path / "demo_b" / "seed1" / "record.json").write_text(json.dumps(record))
    assert any("same data manifest" in sentence for sentence in caption(gather(["demo_a", "demo_b"], [0, 1])))


def test_cautions(run_factory, gather):
    run_factory("demo_a", 0, data_hash="one", git={"commit": "c", "dirty": True})
    run_factory("demo_b", 0, data_hash="two", code="older")
    text = " ".join(cautions(gather(["demo_a", "demo_b"], [0])))
    for part in ("not all measured on the same data", "different versions of the code", "uncommitted", "five seeds"):
        assert part in text
