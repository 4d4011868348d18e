"""What Lightning, callbacks and our data path add to a training step, over a bare PyTorch loop.

    python experiments/speed/step_overhead.py [--backbone mobilenetv2_050] [--size 128] [--rounds 7]

Both sides train the same network on the same augmented synthetic batches with the same optimizer; the bare loop has the
batches in memory, so that what is measured is everything around the step: Lightning's hooks and loader loop, metrics,
the finiteness check. Augmentation is not in it (see data_path.py). Rounds are interleaved; medians of seconds a step.
"""

import argparse
import statistics
import time

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from fer_lab.data.dataset import as_is
from fer_lab.models.losses import CrossEntropy
from fer_lab.models.network import build_network
from fer_lab.schema import build, compose
from fer_lab.training.callbacks import EpochSeed, Metrics
from fer_lab.training.module import FERModule
from fer_lab.training.trainer import quiet


class InMemory(Dataset):
    """Batches that are there already: index -> batch."""

    def __init__(self, batches: list[dict[str, torch.Tensor]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.batches[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenetv2_050")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12, help="of a round and side")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    quiet()
    cfg = compose(
        "train",
        [
            f"backbone={options.backbone}",
            f"input_size={options.size}",
            "trainer.progress=false",
            "trainer.patience=null",
        ],
    )
    generator = torch.Generator().manual_seed(0)
    batches = [
        {
            "faces": torch.randint(0, 256, (64, 48, 48, 1), dtype=torch.uint8, generator=generator),
            "target": torch.randint(0, 7, (64,), generator=generator),
            "index": torch.arange(64),
        }
        for _ in range(options.steps)
    ]
    sides = {"bare": lambda: bare(cfg, batches), "fer_lab": lambda: ours(cfg, batches)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.rounds + 1):
        for name, side in sides.items():
            taken = side()
            if number:  # the first round warms up
                seconds[name].append(taken / (options.steps - 2))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = [b / a - 1 for a, b in zip(seconds["bare"], seconds["fer_lab"], strict=True)]
    print(
        f"{options.backbone}, {options.size} px, batch 64, {torch.get_num_threads()} threads, {options.rounds} rounds"
    )
    print(f"bare PyTorch {1e3 * medians['bare']:.1f} ms a step, fer_lab {1e3 * medians['fer_lab']:.1f} ms a step")
    low, middle, high = (100 * value for value in (min(pairs), statistics.median(pairs), max(pairs)))
    print(f"overhead: {middle:+.1f} % (median of pairs; {low:+.1f} to {high:+.1f})")


def bare(cfg, batches: list[dict[str, torch.Tensor]]) -> float:
    """Seconds from the third step's start to the last one's end."""
    torch.manual_seed(0)
    network = build_network(cfg, 7).to(memory_format=torch.channels_last).train()
    loss = CrossEntropy(0.0)
    optimizer = build(cfg.optimizer)(network.parameters())
    start = 0.0
    for number, batch in enumerate(batches):
        if number == 2:
            start = time.perf_counter()
        optimizer.zero_grad()
        value = loss(network(batch["faces"]), batch["target"])
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
    return time.perf_counter() - start


class Clock(L.Callback):
    """The same two moments in Lightning's loop."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx == 2:
            self.start = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seconds = time.perf_counter() - self.start if batch_idx >= 2 else 0.0


def ours(cfg, batches: list[dict[str, torch.Tensor]]) -> float:
    """The same through FERModule, our callbacks and Lightning's loop."""
    import tempfile
    from pathlib import Path

    torch.manual_seed(0)
    module = FERModule(
        build_network(cfg, 7), CrossEntropy(0.0), build(cfg.optimizer), build(cfg.lr_scheduler), [], 1.0, True
    )
    loader = DataLoader(InMemory(batches), batch_size=None, collate_fn=as_is)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        names = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
        callbacks = [EpochSeed(0, 0), Metrics(Path(folder) / "history.csv", "full", 0, [], names), clock]
        trainer = build(cfg.trainer)(stage_epochs=1, checkpoints=Path(folder), callbacks=callbacks, loggers=[])
        trainer.limit_val_batches = 0
        trainer.checkpoint_callback.monitor = None
        trainer.fit(module, loader)
    return clock.seconds


if __name__ == "__main__":
    main()
