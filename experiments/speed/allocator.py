"""What it saves to keep the memory of one step for the next (fer_lab.models.memory), on a CPU.

    python experiments/speed/allocator.py [--backbones mobilenetv2_050 mobilenetv3_small_100] [--size 224] [--rounds 3]

Each measurement is a process of its own, as the setting is for good: the same steps of full fine-tuning, and the same
answers, on random faces, with glibc as it comes and with pages kept, in turns. Medians over rounds of ms a face.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

STEPS, WARM = 6, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["mobilenetv2_050", "mobilenetv3_small", "efficientnet_b0"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=("kept", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.backbones[0], options.size, options.batch, options.measure == "kept")
        return
    print(f"{options.size} px, batch {options.batch}, medians of {options.rounds} rounds\n")
    print("| backbone | what | ms a face, as it comes | pages kept | ratio of rounds [least, greatest] | peak MB |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for backbone in options.backbones:
        rounds = [{way: child(options, backbone, way) for way in ("plain", "kept")} for _ in range(options.rounds)]
        for place, what in enumerate(("training step", "answers")):
            plain, kept = ([each[way][place] for each in rounds] for way in ("plain", "kept"))
            ratios = [a / b for a, b in zip(plain, kept, strict=True)]
            peaks = " → ".join(f"{statistics.median(each[way][2] for each in rounds):.0f}" for way in ("plain", "kept"))
            print(
                f"| {backbone} | {what} | {statistics.median(plain):.2f} | {statistics.median(kept):.2f} | "
                f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] | {peaks} |",
                flush=True,
            )


def child(options: argparse.Namespace, backbone: str, way: str) -> list[float]:
    words = ["--backbones", backbone, "--size", str(options.size), "--batch", str(options.batch), "--measure", way]
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()[-3:]]


def measure(backbone: str, size: int, batch: int, kept: bool) -> None:
    """Print ms a face of a training step and of an answer, and the peak of memory in MB."""
    import torch

    from fer_lab.deploy.distill import in_cpu_layout
    from fer_lab.models.memory import keep_pages
    from fer_lab.models.network import build_network
    from fer_lab.schema import compose

    if kept and not keep_pages():
        raise SystemExit("no glibc here: there is nothing to compare")
    cfg = compose("train", [f"backbone={backbone}", f"input_size={size}", "backbone.weights=none"])
    network = in_cpu_layout(build_network(cfg, 7))
    faces, labels = torch.randint(0, 256, (batch, 48, 48, 1), dtype=torch.uint8), torch.randint(0, 7, (batch,))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(faces), labels).backward()
        optimizer.step()

    @torch.inference_mode()
    def answer() -> None:
        network(faces)

    network.train()
    trained = seconds(step)
    network.eval()
    print(
        trained / batch * 1e3, seconds(answer) / batch * 1e3, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    )


def seconds(action: object) -> float:
    times = []
    for _ in range(WARM + STEPS):
        started = time.perf_counter()
        action()  # type: ignore[operator]
        times.append(time.perf_counter() - started)
    return float(np.median(times[WARM:]))


if __name__ == "__main__":
    main()
