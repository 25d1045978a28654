"""The noise of VSSL's posterior samples, number for number as vssl draws it: only `compare_steps.py` needs that.

ChaCha with 8 rounds, whose key is the address of the step and the view, feeds the Ziggurat of Doornik 2005 (ZIGNOR)
with 256 boxes.
"""

import math

import numpy as np
import torch

POSTERIOR = 4
BOXES, EDGE, AREA = 256, 3.654152885361008796, 0.00492867323399


def key(seed, stream, a, b):
    """The key of an address, eight words."""
    text = b"".join([
        seed.to_bytes(8, "little"), stream.to_bytes(4, "little"), b"vssl",
        a.to_bytes(8, "little"), b.to_bytes(8, "little"),
    ])
    return np.frombuffer(text, "<u4")


def chacha8(key, blocks):
    """The first `blocks` blocks of the key stream as 64-bit numbers (Bernstein 2008; counter and nonce begin at 0)."""
    state = np.zeros((16, blocks), np.uint32)
    state[:4] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
    state[4:12] = key[:, None]
    state[12] = np.arange(blocks, dtype=np.uint32)
    x = state.copy()

    def turn(row, bits):
        x[row] = (x[row] << np.uint32(bits)) | (x[row] >> np.uint32(32 - bits))

    def quarter(a, b, c, d):
        for (into, other, turned), bits in zip([(a, b, d), (c, d, b)] * 2, (16, 12, 8, 7)):
            x[into] += x[other]
            x[turned] ^= x[into]
            turn(turned, bits)

    for _ in range(4):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return np.ascontiguousarray((x + state).T).view("<u8").ravel()


def density(x):
    return math.exp(-x * x / 2)


def tables():
    """The right edges of the boxes, and the density there."""
    edges = [AREA / density(EDGE), EDGE]
    while len(edges) < BOXES:
        edges.append(math.sqrt(-2 * math.log(AREA / edges[-1] + density(edges[-1]))))
    edges.append(0.0)
    return edges, [density(x) for x in edges]


EDGES, DENSITIES = tables()


def normals(bits):
    """Endless standard normal numbers from 64 random bits at a time."""
    while True:
        drawn = next(bits)
        box, u = drawn & 0xFF, (drawn >> 12) * 2.0**-51 - 1
        x = u * EDGES[box]
        if abs(x) < EDGES[box + 1]:
            yield x
        elif box == 0:
            yield math.copysign(tail(bits), u)
        elif DENSITIES[box + 1] + (DENSITIES[box] - DENSITIES[box + 1]) * (next(bits) >> 11) * 2.0**-53 < density(x):
            yield x


def tail(bits):
    """A number beyond the last edge (Marsaglia 1964)."""
    while True:
        x, y = (math.log((next(bits) >> 12) * 2.0**-52 + 2.0**-53) for _ in range(2))
        if -2 * y >= (x / EDGE) ** 2:
            return EDGE - x / EDGE


def posterior(seed, step):
    """The function that gives the noise of a step, in the shape of `like`, for each view."""

    def noise(like, view):
        count = like.numel()
        bits = iter(chacha8(key(seed, POSTERIOR, step, view), count // 8 + count // 64 + 16).tolist())
        drawn = normals(bits)
        values = np.array([next(drawn) for _ in range(count)], np.float32)
        return torch.from_numpy(values).reshape(like.shape).to(like.dtype)

    return noise
