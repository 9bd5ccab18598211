"""A variational autoencoder (Kingma and Welling 2013, https://arxiv.org/abs/1312.6114) of handwritten digits.

One program of three functions: `train_step` draws a code for each picture with random numbers of its own, `bound` is what was
reached on pictures never trained on (less than 25 nats a picture, where independent pixels need 26.8), and `sample` draws codes
from the prior and decodes them.

    python examples/vae.py
    python examples/vae.py --picture samples.png
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from training import options, plot, save_pictures, train

import graphc as gc
from graphc import data, nn, optim
from graphc.runtime.program import Program

BATCH = 64
PIXELS = 64
F = nn.functional


@dataclass
class Result:
    """Mean loss of each epoch, minus the evidence lower bound on the test digits (nats a picture), samples, the program."""

    losses: list[float]
    bound: float
    samples: np.ndarray
    program: Program


class VAE(nn.Module):
    """Picture -> normal distribution of codes -> probability of each pixel."""

    def __init__(self, hidden: int = 128, codes: int = 8) -> None:
        super().__init__()
        self.codes = codes
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, hidden), nn.ReLU())
        self.mean, self.log_var = nn.Linear(hidden, codes), nn.Linear(hidden, codes)
        self.decoder = nn.Sequential(nn.Linear(codes, hidden), nn.ReLU(), nn.Linear(hidden, PIXELS))

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        """Minus the evidence lower bound of each picture: reconstruction and divergence from N(0, 1), both in nats.

        The code is mean + deviation * noise, so the bound has a derivative with respect to both.
        """
        seen = self.encoder(x)
        mean, log_var = self.mean(seen), self.log_var(seen)
        code = mean + (0.5 * log_var).exp() * gc.randn_like(mean)
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(code), x.flatten(1), reduction="none").sum(1)
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
        return reconstruction + divergence

    def sample(self, count: int) -> gc.Tensor:
        """Pictures of codes that are drawn anew at every call."""
        return self.decoder(gc.randn(count, self.codes)).sigmoid().reshape(count, 1, 8, 8)


def declare(seed: int = 0) -> tuple[gc.Function, gc.Function, gc.Function]:
    """train_step(x) -> loss, bound(x) -> one number a picture, sample() -> pictures."""
    gc.manual_seed(seed)
    net = VAE()
    x = gc.placeholder((BATCH, 1, 8, 8), gc.float32, name="x")
    bounds = net(x)
    optimizer = optim.Adam(net.parameters(), lr=3e-3)
    train_step = gc.function([x], bounds.mean(), updates=optimizer.minimize(bounds.mean()))
    return train_step, gc.function([x], bounds), gc.function([], net.sample(BATCH))


train_step, bound, sample = declare()


def compiled(seed: int) -> Program:
    """The three functions as one program."""
    return gc.compile(**dict(zip(("train_step", "bound", "sample"), declare(seed), strict=True)), name="vae")


def mean_bound(program: Program, pictures: data.Dataset) -> float:
    """Minus the lower bound, the mean over all pictures."""
    loader = data.DataLoader(pictures, BATCH)
    return sum(float(program.bound(x)[: loader.valid].sum()) for (x,) in loader) / len(pictures)


def run(epochs: int = 60, seed: int = 0, quiet: bool = True) -> Result:
    """Train, evaluate, draw samples."""
    program = compiled(seed)
    learn, test = (data.TensorDataset(data.Digits(train=part).arrays[0]) for part in (True, False))
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    losses, _ = train(program, loader, epochs, quiet)
    return Result(losses, mean_bound(program, test), program.sample(), program)


@click.command()
@options(epochs=60)
@click.option("--picture", type=click.Path(path_type=Path), help="Write samples as a picture.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, picture: Path | None) -> None:
    """Train a variational autoencoder on handwritten digits, and draw new ones."""
    result = run(epochs, seed, quiet)
    click.echo(f"VAE: {result.bound:.2f} nats a picture on the test digits, at most")
    if plot_file:
        plot({"VAE": result.losses}, plot_file)
    if picture:
        save_pictures(result.samples, picture)


if __name__ == "__main__":
    main()
