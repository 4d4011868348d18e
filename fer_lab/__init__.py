"""fer_lab: facial expression recognition experiments, from Hydra configs to proven tables and exported models."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for updates on import
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reports home and writes to ~/.cache

__version__ = "0.1.0"
