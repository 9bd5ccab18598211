"""A deep convolutional generative adversarial network (Radford et al. 2015, https://arxiv.org/abs/1511.06434) of digits.

Two networks, two optimisers, two compiled steps over shared variables, one program: `discriminate` trains the discriminator on
real pictures and on ones it has made up itself, `generate` trains the generator against it, `sample` makes pictures. Noise
is drawn inside the program. A classifier of digits, trained apart, judges the samples by the inception score
(https://arxiv.org/abs/1606.03498): the exponential of the mutual information of picture and class, between 1 and 10. Real
digits get 8, noise and an untrained generator 1, a trained one more than 4.

    python examples/dcgan.py
    python examples/dcgan.py --picture samples.png
    graphc compile examples/dcgan.py --name dcgan -o out    both steps and the samples, as a library for C
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.progress import track
from training import options, plot, save_pictures

import graphc as gc
from graphc import data, nn, optim
from graphc.runtime.program import Program

BATCH = 32
SIZE = 16
NOISE = 32
SAMPLES = 512
F = nn.functional


@dataclass
class Result:
    """Mean losses of each epoch by network, samples, their inception score and that of an untrained generator, the program."""

    losses: dict[str, list[float]]
    samples: np.ndarray
    score: float
    score_before: float
    program: Program


def generator(width: int = 16) -> nn.Sequential:
    """(N, NOISE, 1, 1) -> (N, 1, 16, 16) in -1 ... 1."""
    return nn.Sequential(
        nn.ConvTranspose2d(NOISE, 2 * width, 4, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, 2, 1),
        nn.Tanh(),
    )


def discriminator(width: int = 16) -> nn.Sequential:
    """(N, 1, 16, 16) -> (N,): the logit of being real.

    It sees batches of real pictures and batches of made-up ones, each normalised by statistics of its own; running statistics
    would mix both, and are not needed, as it is never evaluated.
    """
    return nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * width, track_running_stats=False),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 4),
        nn.Flatten(0),
    )


def as_in_the_paper(module: nn.Module) -> None:
    """Initial weights N(0, 0.02), and N(1, 0.02) for the scales of batch norm."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def verdict(logits: gc.Tensor, real: bool) -> gc.Tensor:
    """The cross entropy of logits with one answer for all."""
    return F.binary_cross_entropy_with_logits(logits, gc.full_like(logits, float(real)))


def declare(seed: int = 0) -> tuple[gc.Function, gc.Function, gc.Function]:
    """discriminate(real) -> loss, generate() -> loss, sample() -> pictures of 0 ... 1."""
    gc.manual_seed(seed)
    nets = nn.ModuleDict({"generator": generator(), "discriminator": discriminator()}).apply(as_in_the_paper)
    make, judge = nets["generator"], nets["discriminator"]
    real = gc.placeholder((BATCH, 1, SIZE, SIZE), gc.float32, name="real")
    rates = {"lr": 2e-3, "betas": (0.5, 0.999)}
    fake = make(gc.randn(BATCH, NOISE, 1, 1)).detach()
    loss = verdict(judge(real), True) + verdict(judge(fake), False)
    discriminate = gc.function([real], loss, updates=optim.Adam(judge.parameters(), **rates).minimize(loss))
    fooled = verdict(judge(make(gc.randn(BATCH, NOISE, 1, 1))), True)
    generate = gc.function([], fooled, updates=optim.Adam(make.parameters(), **rates).minimize(fooled))
    make.eval()
    return discriminate, generate, gc.function([], (make(gc.randn(SAMPLES, NOISE, 1, 1)) + 1) / 2)


discriminate, generate, sample = declare()


def compiled(seed: int) -> Program:
    """The three functions as one program."""
    return gc.compile(**dict(zip(("discriminate", "generate", "sample"), declare(seed), strict=True)), name="dcgan")


def classifier(learn: data.Dataset, epochs: int = 8) -> Program:
    """A program with `probabilities(images)` of the ten digits."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 64), nn.ReLU(), nn.Linear(64, 10))
    x, y = gc.placeholder((BATCH, 1, SIZE, SIZE), name="x"), gc.placeholder((BATCH,), gc.int64, name="y")
    loss = F.cross_entropy(net(x), y)
    step = gc.function([x, y], loss, updates=optim.Adam(net.parameters(), lr=3e-3).minimize(loss))
    many = gc.placeholder((SAMPLES, 1, SIZE, SIZE), name="images")
    program = gc.compile(train_step=step, probabilities=gc.function([many], gc.softmax(net(many), 1)))
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=0)
    for _ in range(epochs):
        for batch in loader:
            program.train_step(*batch)
    return program


def inception_score(probabilities: np.ndarray) -> float:
    """exp of the mean divergence of a picture's classes from those of all pictures; (N, classes)."""
    p = probabilities.astype(np.float64) + 1e-12
    return float(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))


def run(epochs: int = 20, seed: int = 0, quiet: bool = True) -> Result:
    """Train, draw samples, judge them."""
    program, learn = compiled(seed), data.Digits(size=SIZE)
    judge = classifier(learn)
    before = program.sample()
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    losses: dict[str, list[float]] = {"discriminator": [], "generator": []}
    for _ in track(range(epochs), "training", disable=quiet, transient=True):
        pairs = [(float(program.discriminate(2 * images - 1)), float(program.generate())) for images, _ in loader]
        for name, values in zip(losses, zip(*pairs, strict=True), strict=True):
            losses[name].append(sum(values) / len(values))
    samples = program.sample()
    scores = [inception_score(judge.probabilities(images)) for images in (samples, before)]
    return Result(losses, samples, *scores, program)


@click.command()
@options(epochs=20)
@click.option("--picture", type=click.Path(path_type=Path), help="Write samples as a picture.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, picture: Path | None) -> None:
    """Train a generator of handwritten digits against a discriminator."""
    result = run(epochs, seed, quiet)
    click.echo(f"DCGAN: inception score {result.score:.2f}; {result.score_before:.2f} before the training")
    if plot_file:
        plot(result.losses, plot_file)
    if picture:
        save_pictures(result.samples[:64], picture)


if __name__ == "__main__":
    main()
