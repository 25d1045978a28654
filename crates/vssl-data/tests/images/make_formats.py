"""Writes the TIFF, GIF and PNM files of this folder, each with the RGB pixels that Pillow reads back, and the files
of ../tones, each with the pixels that a data.range makes of its numbers.

    python make_formats.py    # in this folder; needs pillow 13, numpy, tifffile and imagecodecs
"""

import io
import pathlib

import numpy as np
import tifffile
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
TONES = HERE.parent / "tones"
TONES.mkdir(exist_ok=True)
rng = np.random.default_rng(20)

height, width = 21, 27
y, x = np.mgrid[:height, :width]
rgb = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1)
rgb[(x - 12) ** 2 + (y - 9) ** 2 < 30] = [230, 40, 60]
rgb = (rgb + rng.normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8)
picture = Image.fromarray(rgb)
grey = picture.convert("L")
alpha = picture.convert("RGBA")
alpha.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)))
palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=13)


def expect(name, pixels):
    Image.fromarray(pixels).save(HERE / f"{name}.expected.png")


def read(name, extension):
    expect(name, np.asarray(ImageOps.exif_transpose(Image.open(HERE / f"{name}.{extension}")).convert("RGB")))


def write(name, extension, image, **options):
    image.save(HERE / f"{name}.{extension}", **options)
    read(name, extension)


def tiff(name, array, read_back=True, **options):
    tifffile.imwrite(HERE / f"{name}.tif", array, metadata=None, **options)
    if read_back:
        read(name, "tif")


# TIFF of Pillow: libtiff's compressions and Pillow's modes.
for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
    write(f"tiff_{compression}", "tif", picture, compression=compression)
write("tiff_jpeg_grey", "tif", grey, compression="jpeg", quality=95)
write("tiff_jpeg", "tif", picture, compression="jpeg", quality=95)
write("tiff_group4", "tif", picture.convert("1"), compression="group4")
write("tiff_one_bit", "tif", picture.convert("1"))
write("tiff_grey", "tif", grey)
write("tiff_grey_alpha", "tif", alpha.convert("LA"))
write("tiff_alpha", "tif", alpha)
write("tiff_cmyk", "tif", picture.convert("CMYK"), compression="tiff_lzw")
write("tiff_palette", "tif", palette)
write("tiff_palette_lzw", "tif", palette, compression="tiff_lzw")
exif = Image.Exif()
exif[0x112] = 6
write("tiff_turned", "tif", picture, exif=exif)

# TIFF of tifffile: predictors, tiles, planes, either order of bytes, BigTIFF, several pages.
tiff("tiff_predictor", rgb, compression="lzw", predictor=2)
tiff("tiff_tiles", rgb, tile=(16, 16), compression="zlib")
tiff("tiff_planes", np.moveaxis(rgb, -1, 0), planarconfig="separate", photometric="rgb")
tiff("tiff_big_endian", rgb, byteorder=">")
tiff("tiff_bigtiff", rgb, bigtiff=True)
tiff("tiff_white_is_zero", np.asarray(grey), photometric="miniswhite")
tiff("tiff_pages", np.stack([rgb, 255 - rgb]), photometric="rgb")
tiff("tiff_strips", rgb, rowsperstrip=4, compression="zlib")
four = np.asarray(grey) >> 4
for name, byteorder in (("little", "<"), ("big", ">")):
    values = rng.integers(0, 65536, (height, width, 3), dtype=np.uint16)
    tiff(f"tiff16_{name}", values, False, byteorder=byteorder, photometric="rgb", compression="lzw", predictor=2)
    expect(f"tiff16_{name}", (values >> 8).astype(np.uint8))
values = rng.integers(0, 65536, (height, width), dtype=np.uint16)
tiff("tiff16_grey", values, False, compression="zlib")
expect("tiff16_grey", np.repeat((values >> 8).astype(np.uint8)[..., None], 3, -1))

# GIF: palettes, interlaced, transparent, a first picture that does not fill the screen, several pictures.
write("gif_palette", "gif", palette)
write("gif_grey", "gif", grey)
write("gif_interlaced", "gif", palette, interlace=1)
write("gif_transparent", "gif", palette, transparency=3)
write("gif_frames", "gif", palette, save_all=True, append_images=[palette.rotate(90), palette.rotate(180)], loop=0)
stream = io.BytesIO()
palette.save(stream, "GIF")
data = bytearray(stream.getvalue())
data[6:10] = (40).to_bytes(2, "little") + (30).to_bytes(2, "little")
at = data.index(b",\0\0\0\0" + width.to_bytes(2, "little"))
data[at + 1 : at + 5] = (5).to_bytes(2, "little") + (7).to_bytes(2, "little")
(HERE / "gif_smaller_than_screen.gif").write_bytes(data)
read("gif_smaller_than_screen", "gif")
data[6:10] = (20).to_bytes(2, "little") + (10).to_bytes(2, "little")
(HERE / "gif_larger_than_screen.gif").write_bytes(data)
read("gif_larger_than_screen", "gif")

# PNM: text and binary, and the largest samples that scanners and other programs write.
write("pnm_rgb", "ppm", picture)
write("pnm_grey", "pgm", grey)
write("pnm_bits", "pbm", picture.convert("1"))


def pnm(name, extension, kind, values, largest):
    header = f"{kind}\n# a comment\n{values.shape[1]} {values.shape[0]}\n"
    header += "" if largest is None else f"{largest}\n"
    if kind in ("P1", "P2", "P3"):
        body = " ".join(str(value) for value in values.ravel()).encode() + b"\n"
    else:
        body = values.astype(np.uint8 if largest < 256 else ">u2").tobytes()
    (HERE / f"{name}.{extension}").write_bytes(header.encode() + body)
    read(name, extension)


small = rgb[:5, :7]
pnm("pnm_text_rgb", "ppm", "P3", small, 255)
pnm("pnm_text_grey", "pnm", "P2", small[..., 0] >> 4, 15)
pnm("pnm_text_bits", "pbm", "P1", small[..., 0] >> 7, None)
pnm("pnm_seven_bits", "pgm", "P5", small[..., 0] >> 1, 127)
pnm("pnm_hundred", "ppm", "P6", (small.astype(int) * 100 // 255), 100)


# Numbers of more than 8 bits, and what a range makes of them, in double precision.
def tone(name, extension, values, *ranges, colours=slice(None)):
    kept = values if values.ndim == 2 else values[..., colours]
    numbers = kept.astype(np.float64)
    for ends in ranges:
        if ends == "percentiles":
            finite = numbers[np.isfinite(numbers)]
            low = np.percentile(finite, 1, method="lower")
            high = np.percentile(finite, 99, method="higher")
            label = ends
        else:
            low, high = ends
            label = f"{low}_{high}"
        with np.errstate(invalid="ignore"):
            scaled = np.nan_to_num((numbers - low) * (255 / (high - low)), nan=0.0, posinf=255.0, neginf=0.0)
        pixels = np.floor(np.abs(scaled) + 0.5) * np.sign(scaled)
        pixels = pixels.clip(0, 255).astype(np.uint8)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, -1)
        Image.fromarray(pixels).save(TONES / f"{name}@{label}.expected.png")


def tone_tiff(name, values, *ranges, colours=slice(None), **options):
    tifffile.imwrite(TONES / f"{name}.tif", values, metadata=None, **options)
    assert np.array_equal(tifffile.imread(TONES / f"{name}.tif"), values, equal_nan=values.dtype.kind == "f")
    tone(name, "tif", values, *ranges, colours=colours)


real = rng.normal(0.3, 0.4, (9, 11, 3)).astype(np.float32)
tone_tiff("float_rgb", real, (0, 1), "percentiles", photometric="rgb")
tone_tiff("float_grey", real[..., 0] * 1000, (-250, 900.5), "percentiles", compression="zlib", predictor=3)
tone_tiff("float_big_endian", real[..., 1], (0, 1), byteorder=">")
tone_tiff("float_half", real[..., 2].astype(np.float16), (-1, 1), "percentiles")
tone_tiff("float_double", real.astype(np.float64), (-1, 1), photometric="rgb", compression="lzw")
broken = real[..., 0].copy()
broken[0, :3] = [np.nan, np.inf, -np.inf]
tone_tiff("float_not_numbers", broken, (0, 1), "percentiles")
tone_tiff("float_tiles", np.tile(real[..., 0], (3, 3)), "percentiles", tile=(16, 16), compression="zlib")
whole = rng.integers(-3000, 3000, (9, 11))
tone_tiff("int16", whole.astype(np.int16), (-1000, 400), "percentiles")
tone_tiff("int32", (whole * 1000).astype(np.int32), (-1000000, 400000))
tone_tiff("uint32", (whole + 3000).astype(np.uint32), (0, 5000), "percentiles")
twelve = rng.integers(0, 4096, (9, 11, 4), dtype=np.uint16)
tone_tiff("twelve_bits", twelve[..., 0], (0, 4095), (100, 3000), "percentiles", compression="lzw")
tone_tiff("twelve_bits_alpha", twelve, (0, 4095), "percentiles", colours=slice(3), photometric="rgb", extrasamples=["unassalpha"])
Image.fromarray(twelve[..., 1]).save(TONES / "twelve_bits.grey.png")
assert np.array_equal(np.asarray(Image.open(TONES / "twelve_bits.grey.png")), twelve[..., 1])
tone("twelve_bits.grey", "png", twelve[..., 1], (0, 4095), "percentiles")
header = f"P5\n11 9\n4095\n".encode()
(TONES / "twelve_bits.pnm.pgm").write_bytes(header + twelve[..., 2].astype(">u2").tobytes())
tone("twelve_bits.pnm", "pgm", twelve[..., 2], (100, 3000), "percentiles")
