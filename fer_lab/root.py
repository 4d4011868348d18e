"""The typed root of every command's config: run-level keys, so that a misspelt one fails with its name."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Paths:
    """Where a run reads and writes."""

    outputs: str = "outputs"
    cache: str = "outputs/cache"
    weights: str | None = None
    experiments: str = "experiments"
    run: str = MISSING


@dataclass
class Cache:
    """What is computed once and shared by rows and seeds (`fer_lab.training.features`, `fer_lab.training.stages`)."""

    features: str = "fp32"
    stages: bool = True
    max_gb: float = 20.0


@dataclass
class Table:
    """What a sweep file lists: the rows of one table, in order. `examples`: confused faces in the report (None: drawn
    ones only). `reference`: a second row that all others are compared with, beside the baseline."""

    name: str | None = None
    title: str = ""
    paper: str | None = None
    baseline: str | None = None
    reference: str | None = None
    rows: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    examples: bool | None = None


@dataclass
class Config:
    """Typed root of every command's config. Groups are free-form nodes, checked by their `_target_` signatures."""

    name: str = MISSING
    variant: str = ""
    seed: int = 0
    input_size: int = 128
    target_precision: float | None = 0.8
    run: str | None = None
    model: str | None = None
    report: str | None = None
    source: str | None = None
    sink: str | None = None
    store: str | None = None
    demo: bool = False
    lsi: str | None = None
    indicators: str | None = None
    plots: bool = True
    rerun: str = "no"
    parent: str | None = None
    paper: str | None = None
    publish: str | None = None
    verify: bool = False
    dry: bool = False
    preview: bool = False
    label_noise: bool = False
    thumbnails: bool = False
    skip: list[str] = field(default_factory=list)
    patient: bool = False
    sweep_keys: list[str] = field(default_factory=list)
    paths: Paths = field(default_factory=Paths)
    cache: Cache = field(default_factory=Cache)
    table: Table = field(default_factory=Table)
    data: Any = None
    augment: Any = None
    mix: Any = None
    illumination: Any = None
    backbone: Any = None
    head: Any = None
    loss: Any = None
    weighting: Any = None
    optimizer: Any = None
    lr_scheduler: Any = None
    schedule: Any = None
    calibration: Any = None
    smoothing: Any = None
    trainer: Any = None
    logger: Any = None
    suite: Any = None
    quantization: Any = None
    target: str | None = None
    export: Any = None
    benchmark: Any = None
    live: Any = None
    privacy: Any = None
    dashboard: Any = None
