"""What an exported model makes of a face before its last layer; needed only where privacy.embeddings says so."""

from pathlib import Path

import numpy as np

from fer_lab.errors import FerLabError


class Embedder:
    """Asks an .onnx file for the input of its last dense layer, the one that makes the logits.

    Attributes:
        size: D, the number of features.

    Raises:
        FerLabError: the file is no .onnx, or has no such layer.
    """

    def __init__(self, path: str | Path, threads: int) -> None:
        import onnx
        import onnxruntime

        if Path(path).suffix != ".onnx":
            raise FerLabError(f"privacy.embeddings=true needs an .onnx file, but model={path}: export the run first.")
        model = onnx.load(str(path))
        name = _last_features(model.graph)
        if name is None:
            raise FerLabError(f"{path} has no dense layer before its logits: say privacy.embeddings=false.")
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.name = name
        faces = self.session.get_inputs()[0]
        self.size = self(np.zeros((1, *faces.shape[1:]), np.uint8)).shape[1]

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Features, float32 N×D, of uint8 faces N×H×W×C."""
        return self.session.run([self.name], {"faces": faces})[0].reshape(len(faces), -1)


def _last_features(graph: object) -> str | None:
    """The input of the last Gemm or MatMul on the way to the logits."""
    makers = {output: node for node in graph.node for output in node.output}  # type: ignore[attr-defined]
    waiting, seen = ["logits"], set()
    while waiting:
        node = makers.get(waiting.pop(0))
        if node is None or id(node) in seen:
            continue
        if node.op_type in ("Gemm", "MatMul"):
            return str(node.input[0])
        seen.add(id(node))
        waiting += list(node.input)
    return None
