"""Makes the JPEG XL files, with pillow-jxl-plugin and imagecodecs (libjxl), and Pillow's pixels: `python make_jxl.py` in
this folder."""

import os

import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401, registers the format
from PIL import Image

numbers = np.random.default_rng(12)
WIDTH, HEIGHT = 37, 29


def smooth(channels):
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [127.5 + 100 * np.sin(x / (5 + c) + c) * np.cos(y / (6 + 2 * c)) for c in range(channels)]
    return np.stack(planes, 2).astype(np.uint8)


def noise(channels):
    return numbers.integers(0, 256, (HEIGHT, WIDTH, channels)).astype(np.uint8)


def save(name, values, mode, **how):
    picture = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values, mode)
    picture.save(f"{name}.jxl", **how)
    decoded = Image.open(f"{name}.jxl")
    decoded.convert("RGB").save(f"{name}.expected.png")


for mode, channels in {"L": 1, "RGB": 3, "RGBA": 4}.items():
    save(f"jxl_lossless_{mode.lower()}", noise(channels), mode, lossless=True)
save("jxl_lossy_rgb", smooth(3), "RGB", quality=90)
save("jxl_lossy_noise", noise(3), "RGB", quality=60)
save("jxl_lossy_grey", smooth(1), "L", quality=90)
save("jxl_effort", smooth(3), "RGB", lossless=True, effort=9)
# A JPEG inside, whose bytes can be had again.
Image.fromarray(smooth(3), "RGB").save("jxl_inside.jpg", quality=92, subsampling=2)
with open("jxl_lossy_jpeg.jxl", "wb") as file:
    file.write(imagecodecs.jpegxl_encode_jpeg(open("jxl_inside.jpg", "rb").read(), usecontainer=True))
os.remove("jxl_inside.jpg")
Image.open("jxl_lossy_jpeg.jxl").convert("RGB").save("jxl_lossy_jpeg.expected.png")
# 16 bits a sample: of each the highest eight.
values = numbers.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
with open("jxl_sixteen.jxl", "wb") as file:
    file.write(imagecodecs.jpegxl_encode(values, lossless=True))
Image.fromarray((imagecodecs.jpegxl_decode(open("jxl_sixteen.jxl", "rb").read()) >> 8).astype(np.uint8), "RGB").save("jxl_sixteen.expected.png")
