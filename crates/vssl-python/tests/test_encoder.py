"""Encoders: the bits of the command, whatever the images are given as."""

import shutil
import threading
import time
import warnings

import numpy as np
import pytest
from conftest import QUICKSTART, SMALL, alone, command
from PIL import Image

import vssl

FILES = "*/*.png"


@pytest.fixture(scope="module")
def encoder(run):
    return vssl.Encoder.load(run.path)


@pytest.fixture(scope="module")
def written(run, photos, tmp_path_factory):
    """What the command writes of the photographs, with the posterior and without."""
    folder = tmp_path_factory.mktemp("embedded")
    for name, options in (("all", []), ("features", ["--features-only"])):
        ended = command("embed", run.path, "--images", photos, "--to", folder / f"{name}.npy", *options)
        assert ended.returncode == 0, ended.stderr
    return folder


def test_a_folder_has_the_bits_of_the_command(encoder, photos, written):
    found = encoder.embed(photos)
    expected = np.load(written / "features.npy")
    assert found.dtype == np.float32 and found.shape == (11, encoder.info.dim)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["paths", "pil", "arrays", "images"])
def test_images_have_the_bits_of_their_files(encoder, photos, written, kind):
    files = sorted(photos.glob(FILES))
    images = {
        "paths": lambda: files,
        "pil": lambda: [Image.open(file) for file in files],
        "arrays": lambda: [np.asarray(Image.open(file)) for file in files],
        "images": lambda: vssl.Images.open(photos),
    }[kind]()
    np.testing.assert_array_equal(encoder.embed(images), np.load(written / "features.npy"))


def test_an_array_of_a_set_has_the_bits_of_the_set(encoder, run):
    images = vssl.Images.open(run.path / "recipe.toml", split="validation")
    pixels = np.stack(list(images))
    assert pixels.shape == (64, 28, 28, 3)
    expected = encoder.embed(images, batch=7, workers=1)
    np.testing.assert_array_equal(encoder.embed(pixels), expected)
    np.testing.assert_array_equal(encoder.embed(pixels[..., 0]), expected, "grey")
    np.testing.assert_array_equal(encoder.embed(pixels[..., :1]), expected, "one channel")
    with_alpha = np.concatenate([pixels, pixels[..., :1]], axis=-1)
    np.testing.assert_array_equal(encoder.embed(with_alpha), expected, "alpha")
    strided = np.repeat(pixels, 2, axis=0)[::2]
    np.testing.assert_array_equal(encoder.embed(strided), expected, "strided")


def test_a_network_without_tokens_has_no_pooling(encoder, run):
    assert encoder.info.pooling is None
    with pytest.raises(vssl.UsageError, match="it has no tokens"):
        vssl.Encoder.load(run.path, pooling="mean")
    with pytest.raises(vssl.UsageError, match='pooling is "median"'):
        vssl.Encoder.load(run.path, pooling="median")


def test_the_posterior_has_the_bits_of_the_command(encoder, photos, written):
    found = encoder.posterior(photos)
    for name in ("mean", "variance", "variance_direction", "uncertainty"):
        file = written / f"all.{name}.npy"
        value = getattr(found, name)
        assert (value is None) == (not file.exists()), name
        if value is not None:
            np.testing.assert_array_equal(value, np.load(file).reshape(value.shape), name)
    np.testing.assert_array_equal(found.features, np.load(written / "all.npy"))


def test_an_exported_file_is_an_encoder_without_a_posterior(run, photos, written, tmp_path):
    assert command("export", run.path, "--to", tmp_path / "encoder.safetensors").returncode == 0
    encoder = vssl.Encoder.load(tmp_path / "encoder.safetensors")
    np.testing.assert_array_equal(encoder.embed(photos), np.load(written / "features.npy"))
    assert not encoder.info.has_posterior and encoder.info.method is None
    with pytest.raises(ValueError, match="no posterior; expected the run"):
        encoder.posterior(photos)


def test_it_says_what_it_is(encoder, run):
    info = encoder.info
    assert (info.architecture, info.size, info.resize, info.step) == ("resnet18", 28, None, 4)
    assert (info.method, info.network, info.has_posterior) == ("vssl", "student", True)
    assert info.backbone["width"] == 4 and len(info.mean) == len(info.std) == 3
    assert info.path == str(run.path)


def test_the_teacher_is_another_network(run, photos, encoder):
    teacher = vssl.Encoder.load(run.path, network="teacher", checkpoint="step-4")
    assert teacher.info.network == "teacher"
    assert not np.array_equal(teacher.embed(photos), encoder.embed(photos))


def test_the_lock_is_released(encoder):
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 28, 28, 3), dtype=np.uint8)
    images = vssl.Images.of(pixels)
    thread = threading.Thread(target=encoder.embed, args=(images,))
    thread.start()
    turns = 0
    while thread.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns > 5


def test_threads_do_not_wait_for_each_other_for_ever(run, photos):
    alone("""
import pathlib, sys, threading
import numpy as np, vssl
encoder = vssl.Encoder.load(sys.argv[1])
path = sorted(pathlib.Path(sys.argv[2]).glob("*/*.png"))[0]
images = vssl.Images.of(np.zeros((8000, 28, 28, 3), np.uint8))
for call in (encoder.embed, encoder.posterior):
    thread = threading.Thread(target=call, args=(images,))
    thread.start()
    assert encoder.info.dim > 0
    assert encoder.embed([path]).shape == (1, encoder.info.dim)
    thread.join()
""", run.path, photos)


def test_a_forked_process_is_refused_and_does_not_wait(run):
    alone("""
import os, signal, sys
import numpy as np, vssl
encoder = vssl.Encoder.load(sys.argv[1])
pixels = np.zeros((4, 28, 28, 3), np.uint8)
child = os.fork()
if child == 0:
    signal.alarm(60)
    encoder.embed(pixels)  # Nothing was computed before.
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
encoder.embed(pixels)
child = os.fork()
if child == 0:
    signal.alarm(60)
    try:
        encoder.embed(pixels)
    except vssl.Error as error:
        os._exit(0 if "spawn" in str(error) else 2)
    os._exit(3)
assert os.waitpid(child, 0)[1] == 0
""", run.path)


def test_the_posterior_is_of_the_checkpoint_that_was_loaded(run, photos, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    encoder = vssl.Encoder.load(tmp_path / "run")
    before = encoder.posterior(photos)
    vssl.resume(tmp_path / "run", progress=False, train={"max_steps": 8})
    after, later = encoder.posterior(photos), vssl.Encoder.load(tmp_path / "run")
    assert (encoder.info.step, later.info.step) == (4, 8)
    np.testing.assert_array_equal(after.mean, before.mean)
    assert not np.array_equal(later.posterior(photos).mean, before.mean)


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """A run on grey pictures of 12 bits."""
    settings = {**SMALL, "data.channels": 1, "data.bits_used": 12}
    return vssl.pretrain(QUICKSTART, out=tmp_path_factory.mktemp("runs") / "grey", progress=False, **settings)


def test_images_have_the_channels_of_the_run(grey, encoder, run, tmp_path):
    one = grey.encoder()
    assert len(one.info.mean) == len(one.info.std) == 1
    images = vssl.Images.open(grey.path / "recipe.toml", split="validation")
    pixels = np.stack(list(images))
    assert pixels.shape == (64, 28, 28, 1)
    expected = one.embed(images)
    pictures = [Image.fromarray(picture[..., 0]) for picture in pixels]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number:02}.png")
    files = sorted(tmp_path.glob("*.png"))
    again = [pixels, pixels[..., 0], list(pixels), pictures, files, tmp_path, vssl.Images.open(tmp_path, channels=1)]
    for given in again:
        np.testing.assert_array_equal(one.embed(given), expected)
    for given in (np.zeros((2, 28, 28, 3), np.uint8), [Image.new("RGB", (28, 28))], [Image.new("P", (28, 28))]):
        with pytest.raises(ValueError, match="expected .*1 channel"):
            one.embed(given)
    with pytest.raises(ValueError, match=r"data\.channels = 3, and the encoder .* takes images of 1"):
        one.embed(run.path / "recipe.toml")
    with pytest.raises(ValueError, match=r"data\.channels = 1, and the encoder .* takes images of 3"):
        encoder.embed(grey.path / "recipe.toml")


def test_files_are_read_as_the_run_reads_its_own(grey, tmp_path):
    one = grey.encoder()
    samples = np.random.default_rng(5).integers(0, 4096, (4, 28, 28), dtype=np.uint16)
    for number, sample in enumerate(samples):
        Image.fromarray(sample).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    expected = one.embed((samples >> 4).astype(np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (files, tuple(files), (file for file in files)):
            np.testing.assert_array_equal(one.embed(given), expected)
    np.testing.assert_array_equal(one.embed(tmp_path), expected)
    with pytest.warns(vssl.Note, match="opened with bits_used = 16 .*takes images with bits_used = 12"):
        assert not np.array_equal(one.embed(vssl.Images.of(files, channels=1)), expected)


def test_an_image_that_cannot_be_read_is_named(encoder, photos, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    files = [*sorted(photos.glob(FILES))[:2], bad]
    with pytest.raises(vssl.Error, match=r"bad\.png \(image 2\)"):
        encoder.embed(files)
    with pytest.warns(vssl.ImageWarning, match=r"1 image left out[^$]*bad\.png"):
        found = encoder.embed(files, skip_unreadable=True)
    assert np.isnan(found[2]).all() and np.isfinite(found[:2]).all()
    np.testing.assert_array_equal(found[:2], encoder.embed(files[:2]))
    with pytest.raises(vssl.Error, match="none of 1 image could be read"):
        encoder.embed([bad], skip_unreadable=True)


def test_messages_are_those_of_the_command(tmp_path):
    with pytest.raises(vssl.Error) as raised:
        vssl.Encoder.load(tmp_path / "none")
    shown = command("embed", tmp_path / "none", "--to", "x.npy")
    assert shown.returncode == 1 and shown.stderr.strip() == f"error: {raised.value}"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 8, 8, 3)), "the images are float64; expected uint8"),
        (np.zeros((2, 8, 8, 2), np.uint8), r"shape \[2, 8, 8, 2\]; expected \[n, h, w, 1, 3 or 4 channels\]"),
        ([np.zeros((8, 8, 3), np.uint8), "a.png"], "image 1 is str; expected arrays"),
        (7, "images are int; expected an array or a sequence"),
        (np.zeros((480, 640, 3), np.uint8), r"shape \[480, 640, 3\] looks like one image; expected \[n, h, w, c\]"),
        ([Image.fromarray(np.zeros((8, 8), np.uint16))], "image 0 is a PIL image of mode 'I;16'"),
        ([Image.new("F", (8, 8))], "image 0 is a PIL image of mode 'F'"),
    ],
)
def test_what_is_no_image_is_refused(encoder, images, words):
    with pytest.raises(ValueError, match=words):
        encoder.embed(images)


def test_settings_out_of_range_are_refused(run, encoder, photos):
    for arguments in ({"network": "both"}, {"device": "abacus"}, {"checkpoint": "step"}):
        with pytest.raises(ValueError, match="expected"):
            vssl.Encoder.load(run.path, **arguments)
    for arguments in ({"batch": 0}, {"workers": -1}, {"split": "trian"}):
        with pytest.raises(ValueError, match="expected"):
            encoder.embed(photos, **arguments)


def test_a_set_knows_its_classes(photos):
    images = vssl.Images.open(photos)
    assert images.classes == ["even", "odd"] and images.labels.tolist() == [0] * 6 + [1] * 5
    assert images.labels.dtype == np.int64 and len(images) == 11
    first = sorted(photos.glob(FILES))[0]
    assert images.name(0) == str(first)
    np.testing.assert_array_equal(images[0], np.asarray(Image.open(first)))
    np.testing.assert_array_equal(images[-11], images[0])
    for index in (11, -12):
        with pytest.raises(IndexError):
            images[index]
    with pytest.raises(vssl.Error, match="there are no validation images"):
        vssl.Images.open(photos, split="validation")


def test_nothing_is_warned_of_without_a_reason(run, photos):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vssl.Encoder.load(run.path).embed(sorted(photos.glob(FILES)))
        vssl.run(run.path)
        next(iter(vssl.Views(QUICKSTART, settings=SMALL, workers=1)))
