"""64 small PNG files in two classes: `pictures.py FOLDER [BAD]`; file BAD is cut short."""

import struct
import sys
import zlib
from pathlib import Path

SIDE = 32


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(number):
    def value(x, y, colour):
        return (7 * number + x * y + 50 * colour) % 256

    rows = (bytes(value(x, y, c) for x in range(SIDE) for c in range(3)) for y in range(SIDE))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))  # 0: no filter
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


root = Path(sys.argv[1])
bad = int(sys.argv[2]) if len(sys.argv) > 2 else None
for number in range(64):
    path = root / "train" / "ab"[number % 2] / f"{number:02}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(number)[:60] if number == bad else png(number))
