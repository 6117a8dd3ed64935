"""Writes the ONNX graph of a linear map head, without the onnx package, which the light environment does not have.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import numpy as np

from backend.manifest.wire import message, number, text

IR_VERSION, OPSET = 8, 17
FLOAT = 1
_STRING, _INTS = 3, 7  # AttributeProto.AttributeType


def linear_graph(feature: str, size: int, weights: np.ndarray, bias: np.ndarray, window: int) -> bytes:
    """A 1 x 1 convolution of a map, then bilinear to the window's size.

    Args:
        feature: name of the input, (batch, channels, size, size).
        size: positions per side of the map.
        weights: classes x channels.
        bias: classes.
        window: pixels per side of the output "scores", (batch, classes, window, window); a multiple of `size`.

    Returns:
        the ONNX file.
    """
    classes, channels = weights.shape
    scale = window / size
    convolution = _node("Conv", [feature, "weight", "bias"], "logits", [_ints("kernel_shape", [1, 1])])
    enlarge = _node(
        "Resize",
        ["logits", "", "scales"],
        "scores",
        [_string("mode", "linear"), _string("coordinate_transformation_mode", "half_pixel")],
    )
    graph = b"".join(
        [
            message(1, convolution),
            message(1, enlarge),
            text(2, "linear map"),
            message(5, _tensor("weight", weights.reshape(classes, channels, 1, 1))),
            message(5, _tensor("bias", bias)),
            message(5, _tensor("scales", np.array([1, 1, scale, scale]))),
            message(11, _value(feature, [channels, size, size])),
            message(12, _value("scores", [classes, window, window])),
        ]
    )
    operators = text(1, "") + number(2, OPSET)
    return number(1, IR_VERSION) + text(2, "earthprism") + message(7, graph) + message(8, operators)


def _node(operator: str, inputs: list[str], output: str, attributes: list[bytes]) -> bytes:
    parts = [text(1, name) for name in inputs] + [text(2, output), text(3, operator.lower()), text(4, operator)]
    return b"".join([*parts, *(message(5, attribute) for attribute in attributes)])


def _ints(name: str, values: list[int]) -> bytes:
    return text(1, name) + b"".join(number(8, value) for value in values) + number(20, _INTS)


def _string(name: str, value: str) -> bytes:
    return text(1, name) + text(4, value) + number(20, _STRING)


def _tensor(name: str, values: np.ndarray) -> bytes:
    sizes = b"".join(number(1, side) for side in values.shape)
    return sizes + number(2, FLOAT) + text(8, name) + message(9, np.ascontiguousarray(values, "<f4").tobytes())


def _value(name: str, sides: list[int]) -> bytes:
    """A float32 input or output with a free batch axis."""
    dimensions = [text(2, "batch"), *(number(1, side) for side in sides)]
    shape = b"".join(message(1, dimension) for dimension in dimensions)
    kind = number(1, FLOAT) + message(2, shape)
    return text(1, name) + message(2, message(1, kind))
