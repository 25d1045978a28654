"""The input pipeline: order, pixels and promises of vssl's own loader, and the pixels of torchvision."""

import itertools
import os

import numpy as np
import pytest
import torch
from conftest import QUICKSTART, SMALL
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

import vssl

#: Every operation happens often; two sizes of views.
GROUPS = [
    {"count": 2, "size": 24, "crop_scale": [0.2, 1.0], "blur": 0.5, "grayscale": 0.3, "solarize": 0.3, "equalize": 0.3},
    {"count": 1, "size": 9, "local": True, "interpolation": "bilinear", "hue": 0.0, "blur": 0.5, "jitter": 1.0},
]


def views(photos, **arguments):
    return vssl.Views(GROUPS, photos, **{"batch": 4, "seed": 5, "workers": 2, **arguments})


def batches(found, count):
    return list(itertools.islice(found, count))


def same(a, b):
    assert (a.step, a.epoch) == (b.step, b.epoch)
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_array_equal(a.labels, b.labels)
    for one, other in zip(a.views, b.views, strict=True):
        np.testing.assert_array_equal(one, other)


def by_torchvision(image, drawn):
    """A view by torchvision and Pillow, from what was drawn for it."""
    interpolation = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
    size = [drawn["size"], drawn["size"]]
    region = [drawn[key] for key in ("top", "left", "height", "width")]
    view = F.resized_crop(image, *region, size, interpolation[drawn["interpolation"]])
    for name, factor in drawn["jitter"] or []:
        view = getattr(F, f"adjust_{name}")(view, factor)
    if drawn["grayscale"]:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    if drawn["blur"] is not None:
        view = view.filter(ImageFilter.GaussianBlur(drawn["blur"]))
    if drawn["solarize"]:
        view = ImageOps.solarize(view)
    if drawn["equalize"]:
        view = ImageOps.equalize(view)
    return F.hflip(view) if drawn["flip"] else view


def test_bytes_are_those_of_torchvision(photos):
    files = sorted(photos.glob("*/*.png"))
    found = views(photos, dtype="uint8", batch=11)
    done = dict.fromkeys(("jitter", "grayscale", "blur", "solarize", "equalize", "flip"), 0)
    for batch in batches(found, 8):
        assert batch.labels.tolist() == [0 if index < 6 else 1 for index in batch.indices]
        for number, array in enumerate(batch.views):
            assert array.dtype == np.uint8
            for place, index in enumerate(batch.indices):
                drawn = found.parameters(batch.epoch, index, number)
                expected = by_torchvision(Image.open(files[index]), drawn)
                got = array[place].transpose(1, 2, 0)
                np.testing.assert_array_equal(got, np.asarray(expected), f"{files[index]} {number} {drawn}")
                for name in done:
                    done[name] += bool(drawn[name])
    assert min(done.values()) > 10, done


def test_floats_are_the_normalised_bytes(photos):
    mean, std = (0.1, 0.25, 0.5), (0.3, 0.2, 0.7)
    floats = views(photos, mean=mean, std=std)
    for batch, plain in zip(batches(floats, 3), batches(views(photos, dtype="uint8"), 3), strict=True):
        for array, byte in zip(batch.views, plain.views, strict=True):
            assert array.dtype == np.float32
            expected = F.normalize(torch.from_numpy(byte).float() / 255, mean, std)
            np.testing.assert_array_equal(array, expected.numpy())


def test_the_layout_changes_no_number(photos):
    for dtype in ("float32", "uint8"):
        planes, last = (batches(views(photos, dtype=dtype, layout=layout), 2) for layout in ("contiguous", "channels_last"))
        for one, other in zip(planes, last, strict=True):
            same(one, other)
            for a, b in zip(one.views, other.views, strict=True):
                assert a.flags.c_contiguous
                assert torch.from_numpy(b).is_contiguous(memory_format=torch.channels_last)


def test_torch_takes_the_arrays_without_a_copy(photos):
    for layout in ("contiguous", "channels_last"):
        (batch,) = batches(views(photos, layout=layout), 1)
        for array in batch.views:
            tensor = torch.from_numpy(array)
            assert tensor.data_ptr() == array.ctypes.data and tensor.shape == array.shape
            tensor.mul_(2.0)  # The memory may be written to.


def test_neither_threads_nor_the_start_change_a_byte(photos):
    expected = batches(views(photos, workers=0), 7)
    assert [batch.step for batch in expected] == list(range(7))
    for workers, prefetch in ((1, 1), (3, 2), (5, 9)):
        for one, other in zip(expected, batches(views(photos, workers=workers, prefetch=prefetch), 7), strict=True):
            same(one, other)
    for one, other in zip(expected[3:], batches(views(photos, start=3), 4), strict=True):
        same(one, other)


def test_ranks_share_each_batch(photos):
    for whole, first, second in zip(
        batches(views(photos), 4),
        batches(views(photos, rank=0, world=2), 4),
        batches(views(photos, rank=1, world=2), 4),
        strict=True,
    ):
        np.testing.assert_array_equal(whole.indices, np.concatenate([first.indices, second.indices]))
        for number, array in enumerate(whole.views):
            np.testing.assert_array_equal(array, np.concatenate([first.views[number], second.views[number]]))


def test_an_epoch_has_every_image_once(photos):
    found = views(photos, epochs=3)
    assert (found.steps_per_epoch, found.steps, len(found), found.batch) == (2, 6, 6, 4)
    assert [(view.size, view.local) for view in found.views] == [(24, False), (24, False), (9, True)]
    for epoch in range(3):
        seen = np.concatenate([batch.indices for batch in found.epoch(epoch)])
        assert len(set(seen.tolist())) == 8
    assert [batch.step for batch in found] == list(range(6))
    late = views(photos, epochs=3, start=3)
    assert len(late) == 3 and [batch.step for batch in late.epoch(1)] == [3]
    assert list(late.epoch(0)) == [] and [batch.step for batch in late] == [3, 4, 5]
    assert list(views(photos, epochs=1, start=9)) == []
    with pytest.raises(TypeError, match="no end"):
        len(views(photos))


def test_a_recipe_says_everything():
    found = vssl.Views(QUICKSTART, settings=SMALL)
    assert (found.batch, found.steps, len(found.images), [view.size for view in found.views]) == (64, 4, 256, [28, 28])
    (first, *_) = list(found)
    assert first.views[0].shape == (64, 3, 28, 28) and first.labels.shape == (64,)
    other = vssl.Views(QUICKSTART, settings={**SMALL, "seed": 1})
    assert next(iter(other)).indices.tolist() != first.indices.tolist()
    again = vssl.Views(QUICKSTART, settings={**SMALL, "seed": 1}, seed=0, batch=32, epochs=1)
    assert (again.batch, again.steps) == (32, 8)
    np.testing.assert_array_equal(next(iter(again)).indices, first.indices[:32])
    pixels = np.stack(list(found.images))
    same_images = next(iter(vssl.Views(QUICKSTART, pixels, settings=SMALL)))
    np.testing.assert_array_equal(same_images.views[1], first.views[1])
    assert same_images.labels is None


def test_an_encoder_decides_mean_and_std_unless_both_are_given():
    settings = {**SMALL, "init.from": "encoder.safetensors"}
    numbers = [0.3, 0.3, 0.3]
    for arguments in ({}, {"mean": numbers}, {"std": numbers}):
        with pytest.raises(ValueError, match="expected mean and std"):
            vssl.Views(QUICKSTART, settings=settings, **arguments)
    assert vssl.Views(QUICKSTART, settings=settings, mean=numbers, std=numbers).batch == 64


def test_mean_and_std_say_how_many_channels_there_are(tmp_path):
    grey = {"count": 1, "size": 8, "jitter": 0.0, "grayscale": 0.0}
    for channels in (1, 5):
        pixels = np.random.default_rng(channels).integers(0, 256, (6, 9, 9, channels), dtype=np.uint8)
        numbers = {"mean": [0.5] * channels, "std": [0.25] * channels}
        found = vssl.Views([grey], pixels, batch=6, workers=1, **numbers)
        (batch,) = batches(found, 1)
        assert batch.views[0].shape == (6, channels, 8, 8)
        np.testing.assert_array_equal(found.images[2], pixels[2])
        with pytest.raises(ValueError, match=rf"shape \[6, 9, 9, 2\]; expected \[n, h, w, {channels} channel"):
            vssl.Views([grey], np.zeros((6, 9, 9, 2), np.uint8), batch=6, **numbers)
    for number in range(4):
        Image.fromarray(np.full((9, 9), 50 * number, np.uint8)).save(tmp_path / f"{number}.png")
    one = vssl.Views([grey], tmp_path, batch=4, mean=[0.5], std=[0.25], workers=1)
    assert one.images[3].shape == (9, 9, 1) and batches(one, 1)[0].views[0].shape == (4, 1, 8, 8)


def test_other_images_are_read_as_those_of_the_recipe(tmp_path):
    samples = np.random.default_rng(5).integers(0, 4096, (4, 28, 28), dtype=np.uint16)
    for number, one in enumerate(samples):
        Image.fromarray(one).save(tmp_path / f"{number}.png")
    settings = {**SMALL, "data.channels": 1, "data.bits_used": 12}
    files = sorted(tmp_path.glob("*.png"))
    for images in (tmp_path, files, (file for file in files)):
        found = vssl.Views(QUICKSTART, images, batch=4, settings=settings)
        np.testing.assert_array_equal(np.stack(list(found.images))[..., 0], samples >> 4)
    with pytest.warns(vssl.Note, match="opened with bits_used = 16 .*quickstart.toml takes images with bits_used = 12"):
        vssl.Views(QUICKSTART, vssl.Images.of(files, channels=1), batch=4, settings=settings)


def test_three_lines_make_a_dataset_of_torch(photos):
    found = views(photos, epochs=2)

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return (batch.views for batch in found)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=None)
    expected = list(found)
    for tensors, batch in zip(loader, expected, strict=True):
        for tensor, array in zip(tensors, batch.views, strict=True):
            assert torch.is_tensor(tensor)
            np.testing.assert_array_equal(tensor.numpy(), array)
    with pytest.raises(vssl.Error, match="num_workers=0"):
        next(iter(torch.utils.data.DataLoader(Stream(), batch_size=None, num_workers=1)))


def test_a_bad_image_is_an_error_or_is_replaced(photos, tmp_path):
    files = [*sorted(photos.glob("*/*.png"))[:7], tmp_path / "bad.png"]
    files[-1].write_bytes(b"no picture")
    with pytest.raises(vssl.Error, match=r"bad\.png \(image 7\)"):
        batches(views(files, batch=8), 1)
    with pytest.warns(vssl.ImageWarning, match=r"step 0: replaced: .*bad\.png"):
        (batch,) = batches(views(files, batch=8, on_bad_image="skip"), 1)
    (replaced,) = batch.replaced
    assert "bad.png" in replaced.error and batch.indices[replaced.place] != 7


def test_threads_end_with_their_iterator(photos):
    native = lambda: len(os.listdir("/proc/self/task"))
    count = native()
    iterator = iter(views(photos, workers=6))
    next(iterator)
    assert native() >= count + 6
    iterator.close()
    assert native() <= count


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch": 0}, "a batch of 0 from 11 images; expected 1 to 11"),
        ({"batch": 12}, "a batch of 12 from 11 images"),
        ({"world": 3}, "a batch of 4 in 1 parts over 3 processes"),
        ({"rank": 2, "world": 2}, "of which this is number 2"),
        ({"dtype": "float64"}, "dtype is 'float64'; expected one of float32, uint8"),
        ({"layout": "nhwc"}, "layout is 'nhwc'"),
        ({"start": -1}, "start is -1"),
        ({"workers": -2}, "workers is -2"),
        ({"std": [0.0, 1.0, 1.0]}, "normalisation.std is"),
        ({"on_bad_image": "cry"}, "on_bad_image: unknown variant `cry`"),
        ({"settings": {"seed": 1}}, "changes of a recipe"),
        ({"prefetch": 0}, "prefetch is 0 with 2 workers"),
        ({"mean": [0.5]}, "mean has 1 numbers; expected 3"),
        ({"mean": [0.5] * 3, "std": [0.5] * 2}, "std has 2 numbers; expected 3"),
    ],
)
def test_wrong_settings_are_refused(photos, arguments, words):
    with pytest.raises(ValueError, match=words):
        views(photos, **arguments)


def test_wrong_groups_and_recipes_are_refused(photos, tmp_path):
    with pytest.raises(ValueError, match="view groups: unknown field `sise`"):
        vssl.Views([{"sise": 3}], photos, batch=4)
    with pytest.raises(ValueError, match="view group 0: flip is 3"):
        vssl.Views([{"flip": 3}], photos, batch=4)
    with pytest.raises(ValueError, match="expected images"):
        vssl.Views(GROUPS)
    with pytest.raises(ValueError, match="none.toml"):
        vssl.Views(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="view 3 of image 0; expected one of 3 views of 11 images"):
        views(photos).parameters(0, 0, 3)
