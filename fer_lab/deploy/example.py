"""Name the emotion on a face with an exported file: python example.py [model.onnx [face.npy]]

Needs onnxruntime and numpy only. A face is a crop, uint8 H×W×C, as the file's metadata says; no other preprocessing.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).resolve().parent
defaults = [str(here / "model.onnx"), str(here / "sample_face.npy")]
model, face = [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]]

session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["fer_lab"])
probabilities, logits = session.run(["probabilities", "logits"], {"faces": np.load(face)[np.newaxis]})

for name, probability in sorted(zip(about["class_names"], probabilities[0]), key=lambda pair: -pair[1]):  # noqa: B905
    print(f"{name:10} {probability:.6f}")
