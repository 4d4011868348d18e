"""Paper A's training rows with feature cache and shared stages, against two ways of doing without.

    python experiments/speed/sweep_speed.py --data <fer2013> --weights <folder>            ratios, one seed
    python experiments/speed/sweep_speed.py --data <fer2013> --weights <folder> --seeds 5  macro-F1 of five seeds

Ours: `train(cfg)` of each row as the command line calls it, views computed within the time, cache empty at the start.
(a) the same with schedule.cache_views=0 and cache.stages=false: every row forwards every face in every epoch.
(b) a plain Lightning loop (plain_loop.py). Rows are interleaved: each row runs in all three ways before the next one.
The arithmetic bound counts multiply-adds alone (a backward pass as two forward passes), no data path and no loop.
`--weights none` leaves the backbone as it is drawn, which costs the same time: where a file lacks a layer, that layer
learns with the head, which is more work than paper A's rows had. What the first training imports is not counted.
Every measurement is kept at once in the working folder: a stopped script goes on where it was.
"""

import argparse
import contextlib
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import safetensors.torch
import timm
import torch
from omegaconf import DictConfig
from plain_loop import PlainModule, fit, loaders, write_folders

from fer_lab.data.dataset import build_data
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import of_network, predict
from fer_lab.evaluation.run import load_run
from fer_lab.evaluation.test_split import Frozen, file_hash, open_test_split
from fer_lab.models.network import build_loss, build_network
from fer_lab.models.weights import weights_file
from fer_lab.results.environment import environment
from fer_lab.results.record import read_record, write_json
from fer_lab.schema import build, compose
from fer_lab.train import train
from fer_lab.training.features import frozen_steps
from fer_lab.training.schedule import freeze

ROWS = ("ablation_baseline", "ablation_augmentation", "ablation_class_weights", "ablation_finetune")
OFF = ("schedule.cache_views=0", "cache.stages=false")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data.path of FER2013")
    parser.add_argument("--weights", required=True, help="paths.weights, or none for random ones (times alone)")
    parser.add_argument("--take", type=float, default=0.1, help="share of FER2013 (default 0.1)")
    parser.add_argument("--size", type=int, default=128, help="network input in pixels (default 128, paper A)")
    parser.add_argument("--backbone", default="mobilenetv2_050", help="default mobilenetv2_050, paper A")
    parser.add_argument("--views", type=int, help="schedule.cache_views of ours (default: each row's own, 4)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes of the plain loop (default 2)")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="?",
        const=5,
        help="macro-F1 of ours and (a) over so many seeds (5), instead of times",
    )
    parser.add_argument("--folder", type=Path, default=Path("outputs/speed"), help="working folder")
    options = parser.parse_args()
    if options.seeds is not None and options.weights == "none":
        parser.error("--seeds: what random weights give says nothing; name a folder with --weights")
    if options.seeds is not None and options.seeds < 2:
        parser.error("--seeds: give at least 2, as a spread needs")
    views = f"_{options.views}views" if options.views else ""
    options.folder /= f"{'seeds' if options.seeds else 'times'}_{options.take}_{options.size}px{views}"
    kept = Kept(options.folder / "measured.json")
    (compare_seeds if options.seeds else compare_times)(options, kept)


class Kept(dict):
    """Measurements by name, on disk after each."""

    def __init__(self, path: Path) -> None:
        super().__init__(json.loads(path.read_text()) if path.exists() else {})
        self.path = path

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self, indent=1) + "\n")


def config(options: argparse.Namespace, row: str, way: str, seed: int = 0) -> DictConfig:
    """A row as `ours` or `off`, each with outputs and a cache of its own."""
    folder = options.folder / way
    common = [
        f"experiment={row}", f"seed={seed}", f"data.path={options.data}",
        "backbone.weights=none" if options.weights == "none" else f"paths.weights={options.weights}",
        f"data.take={options.take}", f"data.take_held_out={options.take}", f"paths.outputs={folder}",
        f"paths.cache={folder / 'cache'}",
        f"input_size={options.size}",
        f"backbone={options.backbone}",
    ]  # fmt: skip
    ours = [f"schedule.cache_views={options.views}"] if options.views else []
    return compose("train", [*common, *(OFF if way == "off" else ours)])


def timed(action: Any, *arguments: Any) -> float:
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        action(*arguments)
    return time.perf_counter() - start


def compare_times(options: argparse.Namespace, kept: Kept) -> None:
    for way in ("ours", "off"):
        if any(Path(config(options, row, way).paths.run).exists() and f"{row} {way}" not in kept for row in ROWS):
            shutil.rmtree(
                Path(config(options, ROWS[0], way).paths.outputs)
            )  # stopped amid a row: measured from the start
            for row in ROWS:
                kept.pop(f"{row} {way}", None)
        build_data(config(options, ROWS[0], way))  # decoding FER2013 is nobody's time
    tiny = [
        f"paths.outputs={options.folder}",
        f"paths.cache={options.folder / 'cache'}",
        "data.samples=200",
        "name=first",
    ]
    timed(train, compose("train", [*tiny, "backbone=tiny", "head=linear", "input_size=48", "trainer.max_epochs=1"]))
    pictures = options.folder / "png"
    if not pictures.exists():
        write_folders(build_data(config(options, ROWS[0], "ours")), pictures)
    for row in ROWS:
        for way in ("ours", "off", "plain"):
            if f"{row} {way}" not in kept:
                if way == "plain":
                    seconds = timed(plain_row, options, config(options, row, "off"), pictures)
                else:
                    seconds = timed(train, config(options, row, way))
                kept[f"{row} {way}"] = round(seconds, 1)
                print(f"{row} {way}: {seconds:.1f} s", flush=True)
    show(options, kept)


def plain_row(options: argparse.Namespace, cfg: DictConfig, pictures: Path) -> None:
    """The row in the plain loop: head on the frozen backbone, then its top with a tenth of the learning rate."""
    L.seed_everything(cfg.seed, verbose=False)
    data = build_data(cfg)
    network = build_network(cfg, len(data.class_names))  # for the head and for which layers are "the top"
    backbone = timm.create_model(cfg.backbone.timm_name, num_classes=0, global_pool="", pad_type=cfg.backbone.pad_type)
    path = weights_file(cfg.backbone.timm_name, cfg.backbone.weights, cfg.paths.weights)
    if path is not None:
        backbone.load_state_dict(safetensors.torch.load_file(path), strict=False)
    module = PlainModule(backbone, network.head, cfg.optimizer.lr, build_loss(cfg, data).class_weights)
    batches = loaders(pictures, cfg.input_size, cfg.choices.augment != "none", cfg.trainer.batch_size, options.workers)
    for stage in build(cfg.schedule, max_epochs=cfg.trainer.max_epochs):
        freeze(network, stage)
        learns = {name for name, p in network.backbone.body.named_parameters() if p.requires_grad}
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad = name in learns
        module.lr = cfg.optimizer.lr * stage.lr_factor
        fit(module, batches, stage.epochs, options.folder / "plain" / cfg.name / stage.name)


def show(options: argparse.Namespace, kept: Kept) -> None:
    where = f"{torch.get_num_threads()} threads of {environment()['hardware']['cpu']}, torch {torch.__version__}"
    print(f"\nFER2013 x {options.take}, {options.size} px, {where}\n")
    print("| row | ours s | (a) s | (b) s | (a)/ours | bound | (b)/ours |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    bounds = [macs(options, row) for row in ROWS]
    for row, (ours_macs, off_macs) in zip(ROWS, bounds, strict=True):
        line(row, *(kept[f"{row} {way}"] for way in ("ours", "off", "plain")), off_macs / ours_macs)
    for name, rows in (("head-only rows", ROWS[:3]), ("whole ablation", ROWS)):
        seconds = [sum(kept[f"{row} {way}"] for row in rows) for way in ("ours", "off", "plain")]
        ours_macs, off_macs = np.sum(bounds[: len(rows)], axis=0)
        line(name, *seconds, off_macs / ours_macs)


def line(name: str, ours: float, off: float, plain: float, bound: float) -> None:
    print(f"| {name} | {ours:.1f} | {off:.1f} | {plain:.1f} | {off / ours:.1f} | {bound:.1f} | {plain / ours:.1f} |")


def macs(options: argparse.Namespace, row: str) -> tuple[float, float]:
    """Multiply-adds a row needs with cache and sharing (what earlier rows have left counted as free), and without."""
    cfg = config(options, row, "ours")
    data = build_data(cfg)
    faces = {name: len(data.split(name)) for name in ("train", "validation")}
    network = build_network(cfg, len(data.class_names)).eval()
    views = 1 if cfg.choices.augment == "none" else cfg.schedule.cache_views
    ours = off = 0.0
    for number, stage in enumerate(build(cfg.schedule, max_epochs=cfg.trainer.max_epochs)):
        freeze(network, stage)
        start = frozen_steps(network)
        prefix, suffix = (_macs(network, part) for part in (slice(None, start), slice(start, None)))
        epoch = faces["train"] * 3 * suffix + faces["validation"] * suffix
        off += stage.epochs * (epoch + sum(faces.values()) * prefix)
        known = row == "ablation_class_weights"  # its views are row 2's
        if not (row == "ablation_finetune" and number == 0):  # its first stage is row 3's
            ours += stage.epochs * epoch + (0 if known else (views * faces["train"] + faces["validation"]) * prefix)
    return ours, off


def _macs(network: Any, part: slice) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    steps = network.steps()
    inputs = torch.zeros(1, 48, 48, 1, dtype=torch.uint8)
    with torch.no_grad():
        for step in steps[: part.start or 0]:
            inputs = step(inputs)
        with FlopCounterMode(display=False) as counter:
            for step in steps[part]:
                inputs = step(inputs)
    return counter.get_total_flops() / 2


def compare_seeds(options: argparse.Namespace, kept: Kept) -> None:
    """Macro-F1 on the whole PrivateTest of networks trained on the subset."""
    whole = build_data(compose("train", [f"experiment={ROWS[0]}", f"data.path={options.data}", "name=whole"]))
    for seed in range(options.seeds):
        for row in ROWS:
            for way in ("ours", "off"):
                if f"{row} {way} {seed}" not in kept:
                    cfg = config(options, row, way, seed)
                    timed(train, cfg)
                    weights = Path(cfg.paths.run) / "model.safetensors"
                    record = read_record(weights.parent) or {}
                    frozen = Frozen({weights: file_hash(weights)}, 1.0)
                    test = open_test_split(whole, frozen, "sweep_speed", record["test_openings"])
                    write_json(weights.parent / "record.json", record)
                    logits = predict(of_network(load_run(cfg.paths.run).network), test, "Test")
                    kept[f"{row} {way} {seed}"] = compute_metrics(logits, test.labels, whole.class_names)["macro_f1"]
                    print(f"{row} {way} seed {seed}: {kept[f'{row} {way} {seed}']:.4f}", flush=True)
    print("\n| row | ours, macro-F1 | (a), macro-F1 | difference ± its standard error |\n| --- | ---: | ---: | ---: |")
    for row in ROWS:
        ours, off = (
            np.array([kept[f"{row} {way} {seed}"] for seed in range(options.seeds)]) for way in ("ours", "off")
        )
        spread = [f"{values.mean():.4f} ± {values.std(ddof=1):.4f}" for values in (ours, off)]
        error = float((ours - off).std(ddof=1)) / len(ours) ** 0.5  # of pairs: both have the same seeds
        print(f"| {row} | {spread[0]} | {spread[1]} | {ours.mean() - off.mean():+.4f} ± {error:.4f} |")


if __name__ == "__main__":
    main()
