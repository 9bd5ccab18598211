"""The examples with pictures: networks that classify and reach what they promise, networks that draw, overfitting treated."""

from __future__ import annotations

import re
from pathlib import Path

import dcgan
import mobilenet
import numpy as np
import pytest
import regularization
import resnet
import vae
from click.testing import CliRunner

import graphc as gc
from graphc import data


def test_a_narrow_resnet_learns(tmp_path: Path) -> None:
    done = CliRunner().invoke(resnet.main, ["--epochs", "5", "--plot", str(tmp_path / "loss.png")])
    assert done.exit_code == 0, done.output
    assert float(re.findall(r"resnet18: accuracy on the test digits (\S+)", done.output)[0]) >= 0.95
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", done.output)]
    assert len(losses) == 5 and losses[-1] < 0.2 < losses[0]
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_blocks_keep_their_input_where_its_shape_stays() -> None:
    net = resnet.ResNet(*resnet.KINDS["resnet50"], num_classes=3, in_channels=2, width=4)
    shortcuts = [name for name, _ in net.named_modules() if name.endswith("downsample.1")]
    assert shortcuts == [f"layer{number}.0.downsample.1" for number in (1, 2, 3, 4)]
    assert net(gc.placeholder((2, 2, 33, 40))).shape == (2, 3)


def test_a_narrow_mobilenet_learns() -> None:
    result = mobilenet.run(epochs=3)
    assert result.accuracy >= 0.93
    assert result.losses[-1] < 0.3 < result.losses[0]


@pytest.mark.parametrize(("channels", "nearest"), [(1, 8), (8, 8), (11.9, 16), (12, 16), (24 * 0.75, 24), (1280 * 1.4, 1792)])
def test_channels_are_multiples_of_eight(channels: float, nearest: int) -> None:
    assert mobilenet.divisible(channels) == nearest


def test_the_autoencoder_knows_more_than_the_means_of_pixels() -> None:
    result = vae.run()
    learn, test = (data.Digits(train=part).arrays[0].astype(np.float64) for part in (True, False))
    means = learn.mean(0).clip(1e-6, 1 - 1e-6)
    independent = -(test * np.log(means) + (1 - test) * np.log(1 - means)).sum((1, 2, 3)).mean()
    assert result.bound < 25 < 26 < independent
    assert result.samples.shape == (64, 1, 8, 8) and 0 <= result.samples.min() and result.samples.max() <= 1
    assert abs(result.samples.mean(0) - means).mean() < 0.05
    assert result.samples.std(0).mean() > 0.1


def test_samples_are_new_at_every_call_and_the_same_for_the_same_seed() -> None:
    first, again = vae.compiled(3), vae.compiled(3)
    np.testing.assert_array_equal(one := first.sample(), again.sample())
    assert abs(first.sample() - one).max() > 1e-3


def test_the_generator_makes_digits_that_a_classifier_tells_apart() -> None:
    result = dcgan.run(epochs=10)
    assert result.score >= 3.5 > 2 > result.score_before
    assert all(np.isfinite(losses).all() and len(losses) == 10 for losses in result.losses.values())
    real = data.Digits(size=dcgan.SIZE).arrays[0]
    assert abs(result.samples.mean(0) - real.mean(0)).mean() < 0.06
    assert 0.5 < result.samples.std(0).mean() / real.std(0).mean() < 1.5


def test_each_step_trains_its_own_network() -> None:
    program = dcgan.compiled(0)
    images = np.zeros((dcgan.BATCH, 1, dcgan.SIZE, dcgan.SIZE), np.float32)
    for step, arguments, trained in (("discriminate", (images,), "discriminator"), ("generate", (), "generator")):
        before = program.state_dict()
        getattr(program, step)(*arguments)
        weights = [name for name in before if name.startswith(("generator", "discriminator")) and name.endswith(".weight")]
        changed = {name.split(".")[0] for name in weights if (program.state[name] != before[name]).any()}
        assert changed == {trained}


def test_the_inception_score_counts_classes_that_are_told_apart() -> None:
    assert dcgan.inception_score(np.eye(10)) == pytest.approx(10)
    assert dcgan.inception_score(np.full((10, 10), 0.1)) == pytest.approx(1)
    assert dcgan.inception_score(np.eye(10)[[3] * 10]) == pytest.approx(1)


def test_each_remedy_treats_overfitting() -> None:
    results = {name: regularization.run(remedy) for name, remedy in regularization.REMEDIES.items()}
    alone = results.pop("none")
    assert alone.train_accuracy == 1 and alone.test[-1] > 1.5 * min(alone.test)
    for result in results.values():
        assert result.gap < 0.75 * alone.gap
        assert result.test_accuracy >= alone.test_accuracy + 0.02
    others = [alone.zeros, *(result.zeros for name, result in results.items() if name != "L1")]
    assert results["L1"].zeros > 0.7 > 0.5 > max(others)


COMMANDS = [
    (vae.main, ["--plot", "--picture"]),
    (dcgan.main, ["--plot", "--picture"]),
    (regularization.main, ["--plot"]),
]


@pytest.mark.parametrize(("command", "pictures"), COMMANDS)
def test_commands_write_pictures(command, pictures: list[str], tmp_path: Path) -> None:
    wanted = [(option, str(tmp_path / f"{option[2:]}.png")) for option in pictures]
    done = CliRunner().invoke(command, ["--epochs", "1", "--quiet", *(word for pair in wanted for word in pair)])
    assert done.exit_code == 0, done.output
    assert done.output.count("written to") == len(pictures)
    for _, path in wanted:
        assert Path(path).read_bytes().startswith(b"\x89PNG")
