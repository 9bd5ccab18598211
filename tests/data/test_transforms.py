"""Transforms: arrays and Pillow images alike, compared with arithmetic and with Pillow."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from graphc.data import DataLoader, Dataset
from graphc.data import transforms as tf
from graphc.errors import DTypeError, GraphcError, ShapeError

PIL = pytest.importorskip("PIL.Image")
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 17, 3), dtype=np.uint8)


class Image:
    """What Pillow offers numpy."""

    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__
        self.array = array


def test_to_tensor_and_normalize() -> None:
    pixels = np.array([[[0, 255, 51]] * 4] * 2, np.uint8)
    for image in (pixels, Image(pixels)):
        x = tf.ToTensor()(image)
        assert x.shape == (3, 2, 4) and x.dtype == np.float32 and x[:, 0, 0].tolist() == [0, 1, np.float32(0.2)]
    assert tf.ToTensor()(np.ones((2, 3))).shape == (1, 2, 3)
    pipeline = tf.Compose([tf.ToTensor(), tf.Normalize((0.5,), (0.5,)), tf.Lambda(lambda v: v + 1)])
    assert pipeline(pixels)[:2, 0, 0].tolist() == [0, 2] and "ToTensor(), Normalize([0.5], [0.5])" in repr(pipeline)
    with pytest.raises(ShapeError, match="takes an image"):
        tf.ToTensor()(np.zeros(3))
    with pytest.raises(DTypeError, match="ToTensor"):
        tf.Normalize(0.5, 0.5)(pixels)
    with pytest.raises(ShapeError, match="2 channels"):
        tf.Normalize((0, 0), (1, 1))(np.zeros((3, 2, 2), np.float32))
    with pytest.raises(GraphcError, match="must not be 0"):
        tf.Normalize(0, 0)


def test_resize_keeps_what_is_linear() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    big = tf.Resize(16)(ramp)
    assert big.shape == (16, 16) and big[3, 7] == pytest.approx(3.25) and big.min() == 0 and big.max() == 7
    assert tf.Resize((4, 8))(ramp)[0].tolist() == ramp[0].tolist()
    assert tf.Resize(4)(np.full((8, 8, 3), 200, np.uint8)).tolist() == np.full((4, 4, 3), 200).tolist()
    assert (tf.Resize(8)(ramp) == ramp).all()


def test_crops_flips_and_rotations() -> None:
    x = np.arange(16).reshape(1, 4, 4)
    assert tf.CenterCrop(2)(x).tolist() == [[[5, 6], [9, 10]]]
    assert tf.RandomHorizontalFlip(1.0)(x)[0, 0].tolist() == [3, 2, 1, 0] and (tf.RandomHorizontalFlip(0.0)(x) == x).all()
    assert (tf.rotate(x, 90)[0] == np.rot90(x[0])).all() and (tf.rotate(x, 0) == x).all()
    assert tf.rotate(np.ones((5, 5)), 45)[0, 0] == 0
    crops = {tf.RandomCrop(2, seed=seed)(x).tobytes() for seed in range(20)}
    assert len(crops) > 3 and tf.RandomCrop(6, padding=1, seed=0)(x).shape == (1, 6, 6)
    assert (tf.RandomRotation(30, seed=1)(x) == tf.RandomRotation(30, seed=1)(x)).all()
    for crop in (tf.CenterCrop(5), tf.RandomCrop(5)):
        with pytest.raises(ShapeError, match="holds no part"):
            crop(x)
    with pytest.raises(ShapeError, match="takes an image"):
        tf.Resize(2)(np.zeros(3))


def both(transform: Any, pixels: np.ndarray = PIXELS) -> tuple[np.ndarray, np.ndarray]:
    """A transform of an array, and of the same Pillow image. Transforms of random kinds are made twice."""
    image = transform()(PIL.fromarray(pixels))
    assert isinstance(image, PIL.Image)
    array = transform()(pixels)
    assert isinstance(array, np.ndarray) and array.dtype == np.uint8
    gray = np.asarray(image)
    return array, gray[..., None] if gray.ndim == 2 and array.ndim == 3 else gray


EXACT = {
    "center": lambda: tf.CenterCrop((4, 6)),
    "crop": lambda: tf.RandomCrop((5, 9), seed=3),
    "padded": lambda: tf.RandomCrop(20, padding=2, pad_if_needed=True, seed=3),
    "horizontal": lambda: tf.RandomHorizontalFlip(1.0),
    "vertical": lambda: tf.RandomVerticalFlip(1.0),
    "half turn": lambda: tf.RandomRotation((180, 180)),
}
CLOSE = {
    "shrunk": (lambda: tf.Resize((5, 8)), 1),
    "grown": (lambda: tf.Resize((23, 34)), 1),
    "resized crop": (lambda: tf.RandomResizedCrop(7, scale=(0.5, 0.8), seed=1), 1),
    "gray": (lambda: tf.Grayscale(), 1),
    "gray thrice": (lambda: tf.Grayscale(3), 1),
    "bright": (lambda: tf.ColorJitter(brightness=(1.3, 1.31), seed=0), 1),
    "contrast": (lambda: tf.ColorJitter(contrast=(0.5, 0.51), seed=0), 1),
    "saturation": (lambda: tf.ColorJitter(saturation=(0.2, 0.21), seed=0), 1),
    "hue": (lambda: tf.ColorJitter(hue=(0.25, 0.251), seed=0), 12),  # Pillow keeps hues in a byte
}


@pytest.mark.parametrize("name", EXACT)
def test_arrays_and_pillow_images_move_alike(name: str) -> None:
    array, image = both(EXACT[name])
    assert array.shape == image.shape and (array == image).all()


@pytest.mark.parametrize("name", CLOSE)
def test_arrays_and_pillow_images_look_alike(name: str) -> None:
    transform, tolerance = CLOSE[name]
    array, image = both(transform)
    assert array.shape == image.shape
    assert np.abs(array.astype(int) - image).max() <= tolerance
    assert not np.array_equal(array, PIXELS)


def test_a_small_rotation_agrees_with_pillow_almost_everywhere() -> None:
    smooth = np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8)
    array, image = both(lambda: tf.RandomRotation((25, 25)), smooth)
    assert (np.abs(array.astype(int) - image) <= 2).mean() > 0.95  # which pixel is nearest may differ


def test_resize_of_one_number_keeps_the_aspect() -> None:
    assert tf.Resize(22)(PIXELS).shape == (22, 34, 3) and tf.Resize(22)(PIL.fromarray(PIXELS)).size == (34, 22)
    assert tf.Resize(22)(np.moveaxis(PIXELS, -1, 0)).shape == (3, 22, 34)


def test_colours_of_floats() -> None:
    red = np.zeros((3, 2, 2), np.float32)
    red[0] = 1
    assert tf.Grayscale()(red)[0, 0, 0] == np.float32(0.299)
    green = tf.ColorJitter(hue=(1 / 3, 1 / 3 + 1e-9), seed=0)(red)
    np.testing.assert_allclose(green[:, 0, 0], [0, 1, 0], atol=1e-6)
    gray = np.full((1, 2, 2), 0.5, np.float32)
    np.testing.assert_allclose(tf.ColorJitter(hue=0.5, saturation=0.5, contrast=0.5, seed=0)(gray), gray, rtol=1e-6)
    assert tf.ColorJitter(brightness=(2, 3), seed=0)(gray).max() == 1  # clipped
    flat = PIL.fromarray(PIXELS).convert("L")
    assert (np.asarray(tf.ColorJitter(hue=(0.4, 0.5))(flat)) == np.asarray(flat)).all()
    with pytest.raises(ShapeError, match="1 or 3 channels"):
        tf.Grayscale()(np.zeros((2, 5, 5), np.float32))


def test_a_resized_crop_of_an_extreme_image_takes_the_middle() -> None:
    strip = np.zeros((1, 2, 400), np.float32)
    strip[..., 198:201] = 1
    assert tf.RandomResizedCrop(3, scale=(1, 1), seed=0)(strip).min() > 0.5


def test_a_pipeline_from_file_to_tensor() -> None:
    steps = [tf.Resize(16), tf.RandomResizedCrop(8, seed=0), tf.ColorJitter(0.4, 0.4, 0.4, 0.1, seed=0), tf.Grayscale(3)]
    pipeline = tf.Compose([*steps, tf.ToTensor(), tf.Normalize(0.5, 0.25)])
    x = pipeline(PIL.fromarray(PIXELS))
    assert x.shape == (3, 8, 8) and x.dtype == np.float32 and np.isfinite(x).all()
    with pytest.raises(DTypeError, match=r"got Image; put ToTensor"):
        tf.Normalize(0.5, 0.5)(PIL.fromarray(PIXELS))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: tf.RandomHorizontalFlip(1.5), "probability"),
        (lambda: tf.RandomResizedCrop(4, scale=(0.9, 0.1)), "positive ranges"),
        (lambda: tf.ColorJitter(brightness=-1), "brightness=-1"),
        (lambda: tf.ColorJitter(hue=0.7), "hue=0.7"),
        (lambda: tf.ColorJitter(contrast=(2, 1)), "contrast"),
        (lambda: tf.Grayscale(2), "1 or 3 channels"),
    ],
)
def test_settings_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        make()


class Drawn(Dataset):
    """The pixels left after a random crop: which ones says what was drawn."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> np.ndarray:
        return self.transform(np.arange(100).reshape(10, 10))


def epochs(transform: Any, workers: int, kind: str = "thread", count: int = 2) -> list[np.ndarray]:
    loader = DataLoader(Drawn(transform), 4, num_workers=workers, worker_kind=kind)
    return [np.concatenate(list(loader)) for _ in range(count)]


def test_draws_do_not_depend_on_workers_and_change_with_the_epoch() -> None:
    def crop() -> Any:
        return tf.Compose([tf.RandomCrop(3, seed=5), tf.RandomHorizontalFlip(seed=5)])

    alone = epochs(crop(), 0)
    for other in (epochs(crop(), 3), epochs(crop(), 2, "process")):
        assert all((a == b).all() for a, b in zip(alone, other, strict=True))
    assert (alone[0] != alone[1]).any() and len({x.tobytes() for x in alone[0]}) > 6
    assert any((a != b).any() for a, b in zip(alone, epochs(tf.RandomCrop(3, seed=6), 0), strict=True))


class DrawnTogether(Drawn):
    """PyTorch's protocol for several samples at once."""

    def __getitems__(self, indices: list[int]) -> list[np.ndarray]:
        return [self[i] for i in indices]


def test_draws_of_samples_that_come_together() -> None:
    batches = [
        np.concatenate(list(DataLoader(DrawnTogether(tf.RandomCrop(3, seed=5)), 4, num_workers=workers))) for workers in (0, 3)
    ]
    assert (batches[0] == batches[1]).all() and len({x.tobytes() for x in batches[0]}) > 6


def test_two_transforms_of_one_kind_and_seed_draw_apart() -> None:
    (seen,) = epochs(tf.Compose([tf.RandomCrop(8, seed=1), tf.RandomCrop(6, seed=1)]), 0, count=1)
    corners = seen[:, 0, 0]
    moved = {divmod(int(n), 10) for n in corners}
    assert len(moved) > 3 and any(row % 2 or column % 2 for row, column in moved)  # twice the same would be even


def test_without_pillow_reading_says_so() -> None:
    program = (
        "import sys; sys.modules['PIL'] = None\n"
        "import graphc as gc\n"
        "try:\n    import graphc.data.pillow\nexcept gc.GraphcError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'graphc[vision]'" in result.stdout
