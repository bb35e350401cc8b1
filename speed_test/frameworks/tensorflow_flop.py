"""TensorFlow: how many floating-point operations a training step takes."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

    from speed_test.experiment import Batch

# What is counted: convolutions and matrix products, as PyTorch's counter does, so that figures of the two mean the
# same. The rest is about a hundredth of ResNet50's operations. TensorFlow's own counter, tf.compat.v1.profiler, does
# not do: it leaves out Einsum, with which Keras multiplies queries, keys and values; it counts gradients that nobody
# uses; and it miscounts a BatchMatMul whose first matrix is transposed (2.21 reads `transpose_a`, the name is `adj_x`).
# Where it is right, a test holds this one to it.
MATRIX_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative")
GRADIENTS_OF_INPUT = ("Conv2DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput")
GRADIENTS_OF_FILTER = ("Conv2DBackpropFilter", "Conv3DBackpropFilterV2", "DepthwiseConv2dNativeBackpropFilter")
# A step that has one of these is not counted.
UNKNOWN = ("Conv", "CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "SparseMatMul", "SparseTensorDenseMatMul")
COUNTED = frozenset((*MATRIX_PRODUCTS, *CONVOLUTIONS, *GRADIENTS_OF_INPUT, *GRADIENTS_OF_FILTER, *UNKNOWN, "Einsum"))


def count_flop(step: Callable, batch: "Batch") -> float | None:
    """Floating-point operations of one training step on `batch`: of its convolutions and matrix products, forward and
    backward, a multiplication and an addition being two. None where they cannot be counted. Trains nothing."""
    import tensorflow as tf

    return flop_of(tf.function(step, autograph=False).get_concrete_function(*batch).graph, batch)


def flop_of(graph: Any, batch: object) -> float | None:
    """The same of a traced step (a FuncGraph, whose first inputs are `batch`), which may be for batches of any size.

    None if a loop or a branch of it has any of them: nothing tells how often that runs.
    """
    import tensorflow as tf

    definition = graph.as_graph_def()
    if any(node.op in COUNTED for function in definition.library.function for node in function.node_def):
        return None
    # Gradients that nobody uses, such as that of the images, are in the graph, but TensorFlow leaves them out.
    wanted = _above([*(tensor.op for tensor in graph.outputs), *graph.control_outputs], through=_all_inputs)
    products = [operation for operation in wanted if operation.type in COUNTED]
    if any(operation.type in UNKNOWN for operation in products):
        return None
    tensors = tf.nest.flatten(batch, expand_composites=True)
    shapes = {inside.op.name: tensor.shape for inside, tensor in zip(graph.inputs, tensors, strict=False)}
    sized = _with_shapes(definition, _above(products, through=_data), shapes)
    products = [sized.get_operation_by_name(operation.name) for operation in products]
    if not all(
        tensor.shape.is_fully_defined() for product in products for tensor in [*product.inputs, *product.outputs]
    ):
        return None
    return sum(2.0 * _multiplications(product) for product in products)


# Weights are read from outside of the graph; what they are read from has no shape in it.
SOURCES = ("ReadVariableOp", "Placeholder")


def _all_inputs(operation: "tf.Operation") -> "list[tf.Operation]":
    return [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]


def _data(operation: "tf.Operation") -> "list[tf.Operation]":
    return [] if operation.type in SOURCES else [tensor.op for tensor in operation.inputs]


def _above(operations: "list[tf.Operation]", through: Callable) -> "list[tf.Operation]":
    """`operations` and all that they are computed from."""
    found: dict[str, tf.Operation] = {}
    waiting = list(operations)
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += through(operation)
    return list(found.values())


def _with_shapes(
    definition: "tf.compat.v1.GraphDef", operations: "list[tf.Operation]", shapes: "dict[str, tf.TensorShape]"
) -> "tf.Graph":
    """A graph of only these operations, in which the inputs have `shapes`, and all others those that follow.

    It takes a tenth of the time that tracing the step for that batch would.
    """
    import tensorflow as tf

    by_name = {operation.name: operation for operation in operations}
    smaller = tf.compat.v1.GraphDef(versions=definition.versions, library=definition.library)
    for node in definition.node:
        operation = by_name.get(node.name)
        if operation is None:
            continue
        copy = smaller.node.add()
        if node.op in SOURCES:
            (output,) = operation.outputs
            copy.name, copy.op = node.name, "Placeholder"
            copy.attr["dtype"].type = output.dtype.as_datatype_enum
            copy.attr["shape"].shape.CopyFrom(tf.TensorShape(shapes.get(node.name, output.shape)).as_proto())
        else:
            copy.CopyFrom(node)
            copy.ClearField("device")
            copy.attr.pop("_class", None)  # names an operation that this one has to lie beside
            del copy.input[:]
            copy.input.extend(name for name in node.input if not name.startswith("^"))
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(smaller, name="")
    return graph


def _multiplications(operation: "tf.Operation") -> int:
    """How many numbers are multiplied; for each of these there is an addition."""
    shapes = [tensor.shape.as_list() for tensor in operation.inputs]
    result = operation.outputs[0].shape.as_list()
    kind = operation.type
    if kind in MATRIX_PRODUCTS:
        transposed = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        return math.prod(result) * shapes[0][-2 if transposed else -1]
    if kind == "Einsum":
        return _of_einsum(operation.get_attr("equation").decode(), shapes)
    # Each number that a convolution has made, in whatever layout, is made of a filter's window over the channels. The
    # gradients multiply the same pairs: https://arxiv.org/abs/1603.07285
    if kind in CONVOLUTIONS:
        made, filters = result, shapes[1]
    else:  # inputs: sizes or values, values or sizes, gradient of what was made
        made, filters = shapes[2], shapes[1] if kind in GRADIENTS_OF_INPUT else result
    window = filters[:-2] if kind.startswith("Depthwise") else filters[:-1]
    return math.prod(made) * math.prod(window)


def _of_einsum(equation: str, shapes: list[list[int]]) -> int:
    """Of `abc,acd->abd`: one for each combination of all of the letters."""
    terms = equation.split("->")[0].split(",")
    if len(terms) == 1:  # it adds or moves numbers
        return 0
    lengths: dict[str, int] = {}
    for term, dimensions in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        many = len(dimensions) - len(before) - len(after)
        names = [*before, *(f"...{number}" for number in range(many, 0, -1) if dots), *after]
        for name, length in zip(names, dimensions, strict=True):
            lengths[name] = max(length, lengths.get(name, 1))
    return math.prod(lengths.values())
