"""Writes the images of this folder with Pillow 13, each with the RGB pixels that Pillow reads back.

    python make.py        # in this folder; needs pillow and numpy

`<name>.<ext>` is the input, `<name>.expected.png` what a decoder must make of it (after the EXIF
orientation). The picture is synthetic: gradients, a disc and some noise.
"""

import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(0)

height, width = 37, 45
y, x = np.mgrid[:height, :width]
rgb = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1)
rgb[(x - 20) ** 2 + (y - 15) ** 2 < 80] = [230, 40, 60]
rgb = (rgb + rng.normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8)
picture = Image.fromarray(rgb)


def expect(name, pixels):
    Image.fromarray(pixels).save(HERE / f"{name}.expected.png")


def write(name, extension, image, **options):
    path = HERE / f"{name}.{extension}"
    image.save(path, **options)
    expect(name, np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")))


for subsampling, label in ((0, "444"), (1, "422"), (2, "420")):
    write(f"jpeg_{label}", "jpg", picture, quality=85, subsampling=subsampling)
write("jpeg_progressive", "jpg", picture, quality=85, progressive=True)
write("jpeg_restart", "jpg", picture, quality=85, restart_marker_blocks=2)
write("jpeg_rgb", "jpg", picture, quality=90, keep_rgb=True)
write("jpeg_grey", "jpg", picture.convert("L"))
write("jpeg_cmyk", "jpg", picture.convert("CMYK"), quality=90)
write("jpeg_one_pixel", "jpg", picture.crop((3, 3, 4, 4)))
write("jpeg_odd", "jpg", picture.crop((0, 0, 17, 15)), quality=85)

for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x112] = orientation
    write(f"exif_{orientation}", "jpg", picture.crop((0, 0, 24, 16)), exif=exif.tobytes())
exif = Image.Exif()
exif[0x112] = 6
write("exif_png", "png", picture.crop((0, 0, 24, 16)), exif=exif.tobytes())
write("exif_webp", "webp", picture.crop((0, 0, 24, 16)), exif=exif.tobytes())

small = picture.crop((10, 5, 34, 21))
alpha = small.convert("RGBA")
alpha.putalpha(Image.fromarray(rng.integers(0, 256, (16, 24), dtype=np.uint8)))
palette = small.convert("P", palette=Image.Palette.ADAPTIVE, colors=13)
write("png_rgb", "png", small)
write("png_grey", "png", small.convert("L"))
write("png_grey_alpha", "png", alpha.convert("LA"))
write("png_alpha", "png", alpha)
write("png_palette", "png", palette)
write("png_palette_transparent", "png", palette, transparency=3)
write("png_one_bit", "png", small.convert("1"))
write("bmp_rgb", "bmp", small)
write("bmp_grey", "bmp", small.convert("L"))
write("bmp_palette", "bmp", palette)
write("webp_lossy", "webp", small)
write("webp_lossless", "webp", small, lossless=True)
write("webp_alpha", "webp", alpha, lossless=True, exact=True)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# Pillow cannot write these. Its reader clips 16-bit grey at 255, so the expected pixels are the
# high bytes, which is what it gives for the other three.
for name, colour_type, channels in (("grey", 0, 1), ("rgb", 2, 3), ("grey_alpha", 4, 2), ("alpha", 6, 4)):
    values = rng.integers(0, 65536, (7, 9, channels)).astype(">u2")
    header = struct.pack(">IIBBBBB", 9, 7, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (HERE / f"png16_{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    high = (values >> 8).astype(np.uint8)
    expect(f"png16_{name}", high[..., :3] if channels > 2 else np.repeat(high[..., :1], 3, -1))

# A PNG under the name of a JPEG, as in ImageNet, and bytes between the headers of a JPEG.
stream = io.BytesIO()
small.save(stream, "PNG")
(HERE / "png_named_jpeg.JPEG").write_bytes(stream.getvalue())
expect("png_named_jpeg", np.asarray(small))
jpeg = (HERE / "jpeg_444.jpg").read_bytes()
at = jpeg.index(b"\xff\xdb")
(HERE / "jpeg_extra_bytes.jpg").write_bytes(jpeg[:at] + bytes(range(1, 8)) + jpeg[at:])
expect("jpeg_extra_bytes", np.asarray(Image.open(HERE / "jpeg_extra_bytes.jpg")))
