"""What the tests share: photographs, a short run, and the command beside the package."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import vssl

ROOT = pathlib.Path(__file__).resolve().parents[3]
QUICKSTART = ROOT / "recipes" / "quickstart.toml"

#: What makes the quick start quick.
SMALL = {
    "data.path": str(ROOT / "data" / "fashion-mnist-tenth"),
    "data.limit_train": 256,
    "data.limit_validation": 64,
    "backbone.width": 4,
    "vssl.hidden": 16,
    "vssl.dim": 8,
    "train.batch": 64,
    "train.max_steps": 4,
    "log.every_steps": 1,
}


def command(*arguments, **options):
    """The command that the wheel has installed."""
    program = pathlib.Path(sys.executable).parent / "vssl"
    line = [str(program), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=300, **options)


def alone(code, *arguments):
    """A program in a process of its own: threads that wait for each other for ever would take the tests with them."""
    line = [sys.executable, "-c", code, *map(str, arguments)]
    ended = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of four steps."""
    out = tmp_path_factory.mktemp("runs") / "a"
    return vssl.pretrain(QUICKSTART, out=out, progress=False, **SMALL)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Eleven pictures of several sizes in two folders; PNG, so that Pillow's pixels are vssl's."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(7)
    for number in range(11):
        height, width = 20 + 9 * number, 90 - 5 * number
        rows, columns = np.mgrid[:height, :width]
        waves = [np.sin(rows / (3 + number) + phase) + np.cos(columns / (4 + phase)) for phase in range(3)]
        pixels = 127 + 55 * np.stack(waves, axis=-1) + generator.normal(0, 9, (height, width, 3))
        folder = root / ("even" if number % 2 == 0 else "odd")
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
    return root
