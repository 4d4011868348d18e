"""Versions, code and hardware of a run: what may explain a difference between two machines."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

import fer_lab

_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "hydra-core",
    "timm",
    "torchmetrics",
    "albumentations",
    "onnx",
    "onnxruntime",
    "numpy",
)


def environment() -> dict[str, Any]:
    """versions, git and hardware: what may explain a difference between two machines."""
    versions = {"python": platform.python_version(), "fer_lab": fer_lab.__version__}
    versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    hardware = {
        "cpu": _cpu_name(),
        "instructions": _instructions(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "gpu": None,
    }
    return {"versions": versions, "git": _git(), "hardware": hardware}


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _instructions() -> str:
    """The widest vectors, and what multiplies integers: one CPU's name may stand for machines with and without."""
    from torch.cpu import get_capabilities

    found = get_capabilities()
    wide = next((name for key, name in (("avx512_f", "AVX-512"), ("avx2", "AVX2")) if found.get(key)), "")
    integer = {"avx512_vnni": "VNNI", "avx_vnni": "AVX-VNNI", "amx_int8": "AMX"}
    return " ".join([wide, *(name for key, name in integer.items() if found.get(key))]).strip()


def _git() -> dict[str, Any]:
    root = Path(fer_lab.__file__).resolve().parent.parent
    try:
        ask = [subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout.strip()
               for words in (["rev-parse", "HEAD"], ["status", "--porcelain"])]  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}  # an installed wheel
    return {"commit": ask[0], "dirty": bool(ask[1])}
