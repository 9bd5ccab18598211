"""A transformer encoder on digits: patches of 2 x 2 pixels are its words, as in a vision transformer.

Each of 16 patches becomes a vector, a learned position is added, encoder layers (Vaswani et al. 2017) let all patches look at
all others, and the mean of what comes out is classified (Dosovitskiy et al. 2021, with the mean in place of a class token).

    python examples/transformer.py --layers 3 --dropout 0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data, nn, optim

BATCH, SIDE, PATCH = 32, 8, 2
PATCHES = (SIDE // PATCH) ** 2


@dataclass(frozen=True)
class Choices:
    """What can be varied; dropout is a probability, lr the highest learning rate."""

    layers: int = 2
    width: int = 32
    heads: int = 4
    dropout: float = 0.1
    lr: float = 3e-3


class Transformer(nn.Module):
    def __init__(self, choices: Choices) -> None:
        super().__init__()
        width = choices.width
        self.embed = nn.Linear(PATCH * PATCH, width)
        self.position = nn.init.normal_(nn.Parameter(np.zeros((PATCHES, width), np.float32)), std=0.02)
        layer = nn.TransformerEncoderLayer(width, choices.heads, 2 * width, choices.dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, choices.layers, nn.LayerNorm(width))
        self.classify = nn.Linear(width, 10)

    def forward(self, images: gc.Tensor) -> gc.Tensor:
        """Scores (N, 10) of images (N, 1, 8, 8)."""
        return self.classify(self.encoder(self.embed(patches(images)) + self.position).mean(1))


def patches(images: gc.Tensor) -> gc.Tensor:
    """(N, 1, 8, 8) as (N, 16, 4): the pixels of each patch, row by row."""
    count = SIDE // PATCH
    return images.reshape(-1, count, PATCH, count, PATCH).transpose(2, 3).reshape(-1, PATCHES, PATCH * PATCH)


def declare(choices: Choices = Choices(), steps: int = 1000, seed: int = 0) -> tuple[gc.Function, gc.Function]:
    """(train_step, predict); the learning rate rises and falls within `steps`, and `predict` does not drop."""
    gc.manual_seed(seed)
    net = Transformer(choices)
    x = gc.placeholder((BATCH, 1, SIDE, SIDE), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer = optim.AdamW(net.parameters(), choices.lr)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, choices.lr, steps)
    train_step = gc.function([x, y], loss, updates=optimizer.minimize(loss) | schedule.step())
    net.eval()
    return train_step, gc.function([x], net(x).argmax(1))


train_step, predict = declare()


def run(choices: Choices = Choices(), epochs: int = 20, seed: int = 0, quiet: bool = True) -> Result:
    """Train and evaluate."""
    learn, test = data.Digits(train=True), data.Digits(train=False)
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    step, guess = declare(choices, epochs * len(loader), seed)
    program = gc.compile(train_step=step, predict=guess, name="transformer")
    losses, steps = train(program, loader, epochs, quiet)
    return Result(losses, steps, accuracy(program, test, BATCH), program)


@click.command()
@options(epochs=20)
@click.option("--layers", type=click.IntRange(min=1), default=Choices.layers, show_default=True)
@click.option("--width", default=Choices.width, show_default=True, help="Features of each patch; a multiple of --heads.")
@click.option("--heads", default=Choices.heads, show_default=True, help="Of each attention.")
@click.option("--dropout", type=click.FloatRange(0, 1), default=Choices.dropout, show_default=True, help="Probability.")
@click.option("--lr", default=Choices.lr, show_default=True, help="Highest learning rate.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, **choices: float) -> None:
    """Train a transformer encoder to classify digits."""
    result = run(Choices(**choices), epochs, seed, quiet)
    click.echo(f"transformer: accuracy on the test digits {result.accuracy:.4f}")
    if plot_file:
        plot({"transformer": result.losses}, plot_file)


if __name__ == "__main__":
    main()
