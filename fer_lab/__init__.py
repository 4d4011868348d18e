"""fer_lab: facial expression recognition experiments, from Hydra configs to proven tables and exported models."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for updates on import
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reports home and writes to ~/.cache
# idle OpenMP threads of GNU's runtime spin: with another busy process beside, training is several times slower for it
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"
