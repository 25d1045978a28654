#!/usr/bin/env python3
"""What LibTorch loses below Burn: the operations of a training step as PyTorch calls them, and as Burn does.

    python bench/libtorch_operations.py [--width 16] [--size 32] [--batch 64] [--threads 2] [--repeat 5]

Burn's LibTorch back end makes the gradients of a convolution of a transposed convolution and of a
convolution by the gradient, and batch norm of single operations; PyTorch has one function for each. Both
are timed here with the same library, for every layer of a ResNet-18 with the small-image stem, one view.
A row of the result is a sum over the layers, in milliseconds; the last line is JSON. To be run with the
PyTorch that vssl is linked to.
"""

import argparse
import json
import statistics
import time

import torch
from torch.nn import functional

aten = torch.ops.aten


def layers(width, size):
    """Inputs, outputs, side of the input, kernel and stride of each convolution."""
    yield 3, width, size, 3, 1
    inputs = width
    for stage in range(4):
        outputs, stride = width << stage, 1 if stage == 0 else 2
        yield inputs, outputs, size, 3, stride
        if stride == 2:
            yield inputs, outputs, size, 1, 2
        size //= stride
        for _ in range(3):
            yield outputs, outputs, size, 3, 1
        inputs = outputs


def milliseconds(run, repeat):
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def convolution(batch, layer, laid, repeat):
    inputs, outputs, size, kernel, stride = layer
    padding = kernel // 2
    x = torch.randn(batch, inputs, size, size).contiguous(memory_format=laid)
    weight = torch.randn(outputs, inputs, kernel, kernel)
    y = functional.conv2d(x, weight, stride=stride, padding=padding)
    dy = torch.randn_like(y)

    def one(wanted):
        return lambda: aten.convolution_backward(
            dy, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted
        )

    def input_composed():
        out = size - ((y.shape[2] - 1) * stride - 2 * padding + kernel)
        return functional.conv_transpose2d(
            dy, weight, stride=stride, padding=padding, output_padding=out
        )

    def weight_composed():
        # The gradient is the filter: as large as the image.
        found = functional.conv2d(
            x.transpose(0, 1), dy.transpose(0, 1), padding=padding, dilation=stride
        )
        return found.transpose(0, 1)[:, :, :kernel, :kernel]

    exact = one([True, True, False])()
    assert torch.allclose(input_composed(), exact[0], atol=1e-2, rtol=1e-3)
    assert torch.allclose(weight_composed(), exact[1], atol=1e-1, rtol=1e-2)
    forward = lambda: functional.conv2d(x, weight, stride=stride, padding=padding)
    return {
        "convolution, forward": [milliseconds(forward, repeat)] * 2,
        "convolution, gradient of the input": [
            milliseconds(one([True, False, False]), repeat) if inputs > 3 else 0.0,
            milliseconds(input_composed, repeat) if inputs > 3 else 0.0,
        ],
        "convolution, gradient of the weight": [
            milliseconds(one([False, True, False]), repeat),
            milliseconds(weight_composed, repeat),
        ],
    }


def norm(batch, layer, laid, repeat):
    _, channels, size, _, stride = layer
    side = size // stride
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=laid).requires_grad_()
    gamma = torch.ones(channels, requires_grad=True)
    beta = torch.zeros(channels, requires_grad=True)
    mean, variance = torch.zeros(channels), torch.ones(channels)
    dy = torch.randn_like(x)

    def native():
        y = functional.batch_norm(x, mean, variance, gamma, beta, True, 0.1, 1e-5).relu()
        torch.autograd.grad(y, [x, gamma, beta], dy)

    def sum_but_channels(t):
        return t.sum(0, keepdim=True).sum(2, keepdim=True).sum(3, keepdim=True)

    def composed():
        count = batch * side * side
        centred = x - sum_but_channels(x) / count
        spread = sum_but_channels(centred * centred) / count
        scale = gamma.reshape(1, -1, 1, 1) / (spread + 1e-5).sqrt()
        y = (centred * scale + beta.reshape(1, -1, 1, 1)).relu()
        torch.autograd.grad(y, [x, gamma, beta], dy)

    return {
        "batch norm and ReLU, both ways": [
            milliseconds(native, repeat),
            milliseconds(composed, repeat),
        ]
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    result = {}
    for name, laid in [("nchw", torch.contiguous_format), ("channels last", torch.channels_last)]:
        sums = {}
        for layer in layers(chosen.width, chosen.size):
            for measure in (convolution, norm):
                for what, times in measure(chosen.batch, layer, laid, chosen.repeat).items():
                    old = sums.get(what, [0.0, 0.0])
                    sums[what] = [a + b for a, b in zip(old, times)]
        print(f"{name}: as PyTorch calls it, as Burn composes it, ms")
        for what, (native, composed) in sums.items():
            print(f"  {what:38} {native:8.1f} {composed:8.1f}", flush=True)
        result[name] = {what: [round(t, 2) for t in times] for what, times in sums.items()}
    print(json.dumps({"torch": torch.__version__, "width": chosen.width, "result": result}))


if __name__ == "__main__":
    main()
