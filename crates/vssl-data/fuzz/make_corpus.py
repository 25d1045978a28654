"""Writes the first inputs of the targets `idx` and `cifar`, whole files and broken ones. Needs Python only."""

import gzip
import io
import pathlib
import struct
import tarfile

HERE = pathlib.Path(__file__).parent / "corpus"


def write(target, name, data):
    (HERE / target / name).write_bytes(data)


images = struct.pack(">IIII", 0x803, 3, 2, 2) + bytes(range(12))
labels = struct.pack(">II", 0x801, 3) + bytes([0, 9, 4])
write("idx", "images", images)
write("idx", "images_labels", images + b"LABELS" + labels)
write("idx", "gzipped", gzip.compress(images, mtime=0) + b"LABELS" + gzip.compress(labels, mtime=0))
write("idx", "truncated", images[:-3] + b"LABELS" + labels)
write("idx", "gzip_cut", gzip.compress(images, mtime=0)[:-9])
write("idx", "too_many", struct.pack(">IIII", 0x803, 0xFFFFFFFF, 0xFFFF, 0xFFFF))
write("idx", "no_size", struct.pack(">IIII", 0x803, 3, 0, 0))
write("idx", "label_too_large", images + b"LABELS" + labels[:-1] + b"\x0a")


def archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), mtime=0)


record = bytes([3]) + bytes(i % 251 for i in range(3072))
ten = {f"cifar-10-batches-bin/data_batch_{i}.bin": record for i in range(1, 6)}
write("cifar", "ten", archive(ten | {"cifar-10-batches-bin/test_batch.bin": record}))
write("cifar", "ten_cut", archive(ten | {"cifar-10-batches-bin/test_batch.bin": record[:-1]}))
write("cifar", "ten_archive_cut", archive(ten)[:-40])
hundred = bytes([1, 2]) + record[1:]
names = "\n".join(f"class{i}" for i in range(100)).encode()
write("cifar", "hundred", archive({"cifar-100-binary/train.bin": hundred, "cifar-100-binary/fine_label_names.txt": names}))
write("cifar", "hundred_batch", hundred * 2)
write("cifar", "no_archive", b"\x1f\x8b\x08\0")
