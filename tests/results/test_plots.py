import re
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from fer_lab.results.aggregate import spread
from fer_lab.results.charts import class_f1_figure, latency_figure, learning_figure, stage_ends
from fer_lab.results.deployed import SpeedPoint
from fer_lab.results.plots import PALETTE, confusion_figure, reliability_figure, save_png, to_svg

BINS = {"confidence": [None, 0.4, 0.8], "accuracy": [None, 0.3, 0.9], "count": [0, 10, 30]}


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_confusion_shows_counts_and_percents_of_the_true_class():
    svg = to_svg(confusion_figure([[3, 1], [0, 0]], ["happy", "sad"], "Both"), "a matrix")
    shown = texts(svg)
    assert {"3", "75%", "1", "25%", "happy", "sad", "Both"} <= set(shown)
    assert not any("nan" in text or text == "0" for text in shown)  # an empty class is blank


def test_reliability_of_a_record_with_empty_bins():
    figure = reliability_figure(BINS, BINS, "Reliability", 0.1234, None)
    shown = texts(to_svg(figure, "reliability"))
    assert {"before, ECE 0.123", "after", "perfect"} <= set(shown)


def test_svg_is_plain_and_the_same_every_time():
    draw = lambda: to_svg(reliability_figure(BINS, BINS, "R", 0.1, 0.05), 'a "quoted" <thing>')  # noqa: E731
    svg = draw()
    assert svg == draw()
    ElementTree.fromstring(svg.replace("xlink:href", "href"))  # well-formed
    assert "http" not in svg
    assert "metadata" not in svg
    assert 'aria-label="a &quot;quoted&quot; &lt;thing>"' in svg
    assert "var(--c0)" in svg
    assert PALETTE[0] not in svg


def test_png_is_written_with_the_same_bytes(tmp_path):
    files = [save_png(confusion_figure(np.eye(7, dtype=int), list("abcdefg")), tmp_path / f"{i}/x.png") for i in "12"]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert Image.open(files[0]).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_class_f1_is_bars_up_to_seven_rows_and_a_heat_map_beyond():
    def scores(rows):
        return {f"row{i}": [spread([0.5, 0.7]), None] for i in range(rows)}

    bars = to_svg(class_f1_figure(scores(2), ["happy", "sad"], list(PALETTE[:2])), "bars")
    assert texts(bars).count("0.60") == 2  # the missing class has no bar and no number
    heat = to_svg(class_f1_figure(scores(8), ["happy", "sad"], []), "heat")
    assert texts(heat).count("0.60") == 8
    assert "row7" in texts(heat)


def test_stage_changes():
    history = [{"stage": stage, "train_loss": 1.0} for stage in ("head", "head", "top", "all")]
    assert stage_ends(history) == [2, 3]
    assert "epoch" in texts(to_svg(learning_figure([history, history[:1]]), "curves"))


def test_hairline_accuracy_differences_do_not_fill_the_axis():
    points = [SpeedPoint("a", "torch fp32", 2.0, 0.80), SpeedPoint("a", "onnxruntime int8", 0.2, 0.801)]
    (axes,) = latency_figure(points, {"a": 1}).axes
    assert np.ptp(axes.get_ylim()) >= 0.05 - 1e-9
    assert axes.get_xscale() == "log"
