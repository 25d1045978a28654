"""Writes the shards of this folder with the packages that people write them with, from 24 small pictures.

    python make.py    # in this folder; needs numpy, pillow, pyarrow, datasets and webdataset

`folder/` holds the pictures as `train/CLASS/NN.png` and `val/CLASS/NN.png`; every other folder holds the same pictures
in the same order, the training images and the validation images.
"""

import io
import json
import os
import pathlib
import shutil

os.environ["HF_DATASETS_OFFLINE"] = "1"

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
from PIL import Image

HERE = pathlib.Path(__file__).parent
CLASSES = ["ant", "bee", "cat"]
rng = np.random.default_rng(3)


def picture(index):
    height, width = 5 + index % 4, 6 + index % 3
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def folder(name):
    path = HERE / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


train = [(picture(index), index // 6) for index in range(18)]
validation = [(picture(index), index // 2) for index in range(6)]
splits = {"train": train, "validation": validation}

tree = folder("folder")
for split, samples in (("train", train), ("val", validation)):
    for index, (data, label) in enumerate(samples):
        place = tree / split / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index:02}.png").write_bytes(data)

# WebDataset: several shards, labels as cls and as json, further files in a sample.
for kind in ("cls", "json"):
    place = folder(f"tar_{kind}")
    for split, samples in splits.items():
        (place / split).mkdir()
        with webdataset.ShardWriter(str(place / split / "%06d.tar"), maxcount=7, verbose=0) as writer:
            for index, (data, label) in enumerate(samples):
                sample = {"__key__": f"sample{index:04}", "png": data, "txt": "a caption"}
                if kind == "cls":
                    sample["cls"] = label
                else:
                    sample["json"] = {"label": CLASSES[label], "caption": "a caption"}
                writer.write(sample)
    if kind == "cls":
        (place / "classes.txt").write_text("\n".join(CLASSES) + "\n")

# datasets: an Image and a ClassLabel, as push_to_hub and to_parquet write them.
features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
place = folder("parquet_datasets")
for split, samples in splits.items():
    rows = {
        "image": [{"bytes": data, "path": f"{index}.png"} for index, (data, _) in enumerate(samples)],
        "label": [label for _, label in samples],
    }
    datasets.Dataset.from_dict(rows, features=features).to_parquet(place / f"{split}-00000-of-00001.parquet")


def table(samples, labels=None, missing=(), label_type=pa.int64(), name="label"):
    images = [None if index in missing else {"bytes": data, "path": None} for index, (data, _) in enumerate(samples)]
    labels = [label for _, label in samples] if labels is None else labels
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({"id": pa.array(range(len(samples))), "image": pa.array(images, image), name: pa.array(labels, label_type)})


def parquet(name, change=lambda table: table, words=False, **options):
    place = folder(name)
    for split, samples in splits.items():
        labels = [CLASSES[label] for _, label in samples] if words else None
        own = table(samples, labels, label_type=pa.string() if words else pa.int64())
        pq.write_table(change(own), place / f"{split}.parquet", **options)


parquet("parquet_plain", compression="none", use_dictionary=False)
parquet("parquet_snappy_pages", compression="snappy", use_dictionary=False, data_page_size=300, write_batch_size=2)
parquet("parquet_gzip", compression="gzip", row_group_size=5)
parquet("parquet_second", compression="snappy", data_page_version="2.0", row_group_size=7)
parquet("parquet_second_plain", compression="none", data_page_version="2.0", use_dictionary=False)
parquet("parquet_words", words=True)
parquet("parquet_zstd", compression="zstd")
parquet("parquet_delta", use_dictionary=False, column_encoding={"label": "DELTA_BINARY_PACKED"})

# Rows without an image and without a label; superclasses.
place = folder("parquet_nulls")
more = train[:3] + [(train[0][0], 0)] + train[3:]
pq.write_table(table(more, missing=(3,)), place / "train.parquet")
place = folder("parquet_no_labels")
labels = [label for _, label in train]
labels[4] = None
labels[7] = -1
pq.write_table(table(train, labels), place / "train.parquet")
place = folder("parquet_coarse")
own = table(train, name="fine_label")
own = own.append_column("coarse_label", pa.array([label // 2 for _, label in train]))
pq.write_table(own, place / "train.parquet")

# Lists of the pictures in `folder`, as CSV and as Parquet.
place = folder("list")
rows = [
    (f"../folder/{place}/{CLASSES[label]}/{index:02}.png", CLASSES[label], split)
    for split, place, samples in (("train", "train", train), ("val", "val", validation))
    for index, (_, label) in enumerate(samples)
]
text = "path,label,split\n" + "".join(",".join(row) + "\n" for row in rows)
(place / "list.csv").write_text(text)
columns = list(zip(*rows))
pq.write_table(pa.table(dict(zip(("path", "label", "split"), columns))), place / "list.parquet")
