"""Makes the images of other numbers of channels than three, with tifffile and Pillow, and the bytes that they become:
`python make.py` in this folder. `<name>@<channels>.expected` has the bytes of a picture of 7 x 5 pixels, channels last;
behind the number of channels stands the range, where one is set."""

import numpy as np
import tifffile
from PIL import Image

WIDTH, HEIGHT = 7, 5
numbers = np.random.default_rng(20)


def noise(channels, most, dtype):
    return numbers.integers(0, most + 1, (HEIGHT, WIDTH, channels)).astype(dtype)


def expect(name, label, values):
    assert values.dtype == np.uint8 and values.shape[:2] == (HEIGHT, WIDTH)
    with open(f"{name}@{label}.expected", "wb") as file:
        file.write(values.tobytes())


def spread(values, low, high):
    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    return np.clip(np.floor(scaled + 0.5), 0, 255).astype(np.uint8)


def percentiles(values):
    """Each channel from its own 1st to its own 99th percentile."""
    planes = []
    for channel in range(values.shape[2]):
        plane = values[..., channel]
        order = np.sort(plane.ravel().astype(np.float64))
        cut = int(0.01 * (len(order) - 1))
        planes.append(spread(plane, order[cut], order[-1 - cut]))
    return np.stack(planes, 2)


def tiff(name, values, planar=False, **how):
    stored = np.moveaxis(values, 2, 0) if planar else values
    stored = stored[..., 0] if values.shape[2] == 1 else stored
    how.setdefault("photometric", "minisblack")
    how.setdefault("planarconfig", "separate" if planar else "contig")
    tifffile.imwrite(f"{name}.tif", np.ascontiguousarray(stored), metadata=None, **how)


for channels in (2, 4, 5):
    values = noise(channels, 255, np.uint8)
    for planar in (False, True):
        name = f"tiff_{channels}_{'planar' if planar else 'chunky'}_8"
        tiff(name, values, planar)
        expect(name, channels, values)
for channels, how in ((5, {"compression": "zlib", "predictor": True}), (13, {"compression": "lzw"}), (4, {})):
    values = noise(channels, 65535, np.uint16)
    for planar in (False, True):
        name = f"tiff_{channels}_{'planar' if planar else 'chunky'}_16"
        tiff(name, values, planar, **how)
        expect(name, channels, (values >> 8).astype(np.uint8))
        expect(name, f"{channels}_1000_50000", spread(values, 1000, 50000))
for planar in (False, True):
    values = numbers.normal(0.4, 0.7, (HEIGHT, WIDTH, 6)).astype(np.float32)
    values *= np.array([1, 10, 100, 1, 0.01, 5], np.float32)
    name = f"tiff_6_{'planar' if planar else 'chunky'}_float"
    tiff(name, values, planar)
    expect(name, "6_-1_2.5", spread(values, -1, 2.5))
    expect(name, "6_percentiles", percentiles(values))
values = noise(6, 255, np.uint8)
tiff("tiff_6_tiles_8", values, tile=(16, 16), compression="zlib")
expect("tiff_6_tiles_8", 6, values)
# Red, green and blue with others behind them.
values = noise(4, 65535, np.uint16)
tiff("tiff_rgb_infrared_16", values, photometric="rgb", extrasamples=["unspecified"])
expect("tiff_rgb_infrared_16", 4, (values >> 8).astype(np.uint8))
values = noise(5, 255, np.uint8)
tiff("tiff_rgb_two_more_8", values, photometric="rgb", extrasamples=["unspecified"] * 2)
expect("tiff_rgb_two_more_8", 5, values)
values = noise(4, 255, np.uint8)
tiff("tiff_rgba_8", values, photometric="rgb", extrasamples=["unassalpha"])
expect("tiff_rgba_8", 4, values)
values = noise(1, 65535, np.uint16)
tiff("tiff_grey_16", values, planarconfig=None)
expect("tiff_grey_16", 1, (values >> 8).astype(np.uint8))
values = noise(2, 255, np.uint8)
tiff("tiff_grey_alpha_8", values, extrasamples=["unassalpha"])
expect("tiff_grey_alpha_8", 2, values)
expect("tiff_grey_alpha_8", 1, values[..., :1])
for mode, endings in {"L": "png bmp gif webp pgm", "LA": "png", "RGBA": "png webp"}.items():
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = noise(channels, 255, np.uint8)
    picture = Image.fromarray(values[..., 0] if channels == 1 else values, mode)
    for ending in endings.split():
        name = f"{ending}_{mode.lower()}"
        picture.save(f"{name}.{ending}", **({"lossless": True, "exact": True} if ending == "webp" else {}))
        expect(name, channels, values)
        if mode == "LA":
            expect(name, 1, values[..., :1])
grey = noise(1, 255, np.uint8)
Image.fromarray(np.repeat(grey, 3, 2), "RGB").save("png_grey_as_rgb.png")
expect("png_grey_as_rgb", 1, grey)
# Turned by EXIF: the file is 5 wide and 7 high.
turned = Image.fromarray(grey[..., 0], "L").transpose(Image.Transpose.ROTATE_90)
exif = Image.Exif()
exif[0x112] = 6
turned.save("png_grey_turned.png", exif=exif)
expect("png_grey_turned", 1, grey)
# Refused: colours where grey is wanted, three or five channels where four are.
Image.fromarray(noise(3, 255, np.uint8), "RGB").save("refused_rgb.png")
Image.fromarray(noise(4, 255, np.uint8), "CMYK").save("refused_cmyk.tif")
