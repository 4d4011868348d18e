"""Biases of a quantised flatbuffer, two things that ai-edge-quantizer leaves undone.

It rounds weights and leaves it at that: in the first layers, whose inputs are far from 0 on average, nine tenths of the
squared error are then the same shift for every face, and all layers behind inherit it. `correct_bias` does what
`fer_lab.deploy.bias_correction` does to ONNX graphs. And it gives a bias the scale of its channel's weights: where
these are next to nothing, a bias of 1 is more than 32 bits hold, and is cut off. `lift_weights` keeps them above that.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer_lab.deploy.onnx import INPUT
from fer_lab.deploy.tflite import read
from fer_lab.extras import optional

LEAST = 1e-4  # of a bias: 127 / 2^31 over an input's scale of 6e-4; what reads 6 moves by .06 %, less than INT8 tells


def correct_bias(quantized: bytes, reference: bytes, faces: np.ndarray) -> bytes:
    """`quantized` with the int32 biases of its convolutions moved so that weight rounding shifts no channel on average.

    reference: the float flatbuffer it was made from; faces: uint8 N×H×W×C. Float convolutions are left alone.
    """
    tools = optional("ai_edge_litert.tools.flatbuffer_utils", "tflite")
    schema = optional("ai_edge_litert.schema_py_generated", "tflite")
    model, float_model = map(read, (quantized, reference))
    means = _mean_inputs(reference, [int(op.inputs[0]) for op in _convolutions(float_model, schema)], faces)
    pairs = zip(_convolutions(model, schema), _convolutions(float_model, schema), means, strict=True)
    for op, original, mean in pairs:
        weight, bias = (model.subgraphs[0].tensors[int(index)] for index in op.inputs[1:3])
        if weight.type != schema.TensorType.INT8 or bias.type != schema.TensorType.INT32:
            continue
        rounded = _values(model, op.inputs[1], np.int8) * _scales(weight)
        shift = _mean_output(op, rounded - _values(float_model, original.inputs[1], np.float32), mean, schema)
        buffer, step = model.buffers[bias.buffer], np.asarray(bias.quantization.scale)
        limits = np.iinfo(np.int32)
        moved = np.round(np.frombuffer(bytes(buffer.data), np.int32) - shift / step)
        buffer.data = np.frombuffer(moved.clip(limits.min, limits.max).astype(np.int32).tobytes(), np.uint8)
    return bytes(tools.convert_object_to_bytearray(model))


def lift_weights(content: bytes) -> bytes:
    """A float flatbuffer whose convolutions have a weight in every channel that is at least LEAST of its bias."""
    tools = optional("ai_edge_litert.tools.flatbuffer_utils", "tflite")
    schema = optional("ai_edge_litert.schema_py_generated", "tflite")
    model = read(content)
    for op in _convolutions(model, schema):
        weight, bias = (_values(model, index, np.float32) for index in op.inputs[1:3])
        channels = weight.reshape(len(bias), -1) if len(weight) == len(bias) else weight.reshape(-1, len(bias)).T
        least = LEAST * np.abs(bias)
        short = np.abs(channels).max(1) < least
        channels = channels.copy()
        channels[short, 0] = least[short]
        lifted = channels.reshape(weight.shape) if len(weight) == len(bias) else channels.T.reshape(weight.shape)
        buffer = model.buffers[model.subgraphs[0].tensors[int(op.inputs[1])].buffer]
        buffer.data = np.frombuffer(np.ascontiguousarray(lifted, np.float32).tobytes(), np.uint8)
    return bytes(tools.convert_object_to_bytearray(model))


def _convolutions(model: Any, schema: Any) -> list[Any]:
    """Operators with a bias, in the order in which they run: the same before and after quantising."""
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    wanted = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
    return [op for op in model.subgraphs[0].operators if kinds[op.opcodeIndex] in wanted and len(op.inputs) == 3]


def _values(model: Any, index: int, dtype: type) -> np.ndarray:
    """A constant tensor, as float32."""
    tensor = model.subgraphs[0].tensors[int(index)]
    values: np.ndarray = np.frombuffer(bytes(model.buffers[tensor.buffer].data), dtype)
    return values.reshape(tensor.shape).astype(np.float32)


def _scales(weight: Any) -> np.ndarray:
    """The scales of an int8 tensor, one or one a channel, shaped to multiply it."""
    scales = np.asarray(weight.quantization.scale, np.float32)
    shape = [1] * len(weight.shape)
    shape[weight.quantization.quantizedDimension] = -1
    return scales.reshape(shape if len(scales) > 1 else [1] * len(shape))


def _mean_inputs(content: bytes, indices: list[int], faces: np.ndarray) -> list[np.ndarray]:
    """Means over the faces of some tensors of a float flatbuffer, 1×h×w×C: places kept, because borders are padded."""
    interpreters = optional("ai_edge_litert.interpreter", "tflite")
    interpreter = interpreters.Interpreter(
        model_content=content,
        num_threads=2,
        experimental_op_resolver_type=interpreters.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    place = next(each["index"] for each in interpreter.get_input_details() if INPUT in each["name"])
    means = [np.zeros((), np.float32)] * len(indices)
    for start in range(len(faces)):
        interpreter.set_tensor(place, np.ascontiguousarray(faces[start : start + 1]))
        interpreter.invoke()
        seen = (interpreter.get_tensor(index) for index in indices)
        means = [mean + new / np.float32(len(faces)) for mean, new in zip(means, seen, strict=True)]
    return means


def _mean_output(op: Any, weight: np.ndarray, inputs: np.ndarray, schema: Any) -> np.ndarray:
    """Mean of each output channel of one convolution without bias, with `weight` in place of its own."""
    options = op.builtinOptions
    x = torch.from_numpy(inputs).permute(0, 3, 1, 2)
    depthwise = hasattr(options, "depthMultiplier")
    kernel = torch.from_numpy(weight).permute(3, 0, 1, 2) if depthwise else torch.from_numpy(weight).permute(0, 3, 1, 2)
    if options.padding == schema.Padding.SAME:
        x = F.pad(x, _same(x, kernel, (options.strideH, options.strideW)))
    stride, groups = (options.strideH, options.strideW), x.shape[1] // kernel.shape[1]
    return F.conv2d(x, kernel, stride=stride, groups=groups).mean((0, 2, 3)).numpy()


def _same(x: Tensor, kernel: Tensor, stride: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding left, right, above and below that gives ceil(size / stride) outputs, the odd one behind."""
    sides = []
    for size, taps, step in zip(reversed(x.shape[2:]), reversed(kernel.shape[2:]), reversed(stride), strict=True):
        extra = max((-(-size // step) - 1) * step + taps - size, 0)
        sides += [extra // 2, extra - extra // 2]
    return sides[0], sides[1], sides[2], sides[3]
