"""LeNet on handwritten digits, and the variations one meets beside it: batch norm, dropout, L1 and L2 regularisation.

conv 6@5x5 -> pool 2 -> conv 16@5x5 -> pool 2 -> 120 -> 84 -> 10, on 32 x 32 images normalised with (0.5, 0.5).

    python examples/lenet.py                              SGD with momentum
    python examples/lenet.py --momentum 0 --lr 0.1        plain gradient descent
    python examples/lenet.py --batch-norm --dropout 0.2 --l2 1e-4
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data, nn, optim

BATCH = 32
F = nn.functional


@dataclass(frozen=True)
class Choices:
    """What can be varied; l1 and l2 are the weights of the penalties, dropout a probability."""

    lr: float = 0.02
    momentum: float = 0.9
    batch_norm: bool = False
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0


class LeNet(nn.Module):
    def __init__(self, batch_norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.norm1, self.norm2 = (nn.BatchNorm2d(6), nn.BatchNorm2d(16)) if batch_norm else (nn.Identity(), nn.Identity())
        self.dropout = nn.Dropout(dropout)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        x = F.max_pool2d(gc.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(gc.relu(self.norm2(self.conv2(x))), 2)
        x = self.dropout(gc.relu(self.fc1(x.flatten(1))))
        return self.fc3(gc.relu(self.fc2(x)))


def declare(choices: Choices = Choices(), seed: int = 0) -> tuple[gc.Function, gc.Function]:
    """(train_step, predict). The step uses batch statistics and drops; `predict` is made after `eval()` and does neither."""
    gc.manual_seed(seed)
    net = LeNet(choices.batch_norm, choices.dropout)
    x = gc.placeholder((BATCH, 1, 32, 32), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = F.cross_entropy(net(x), y)
    if choices.l1:
        loss = loss + choices.l1 * sum(p.abs().sum() for p in net.parameters())
    lr = gc.variable(np.float32(choices.lr), name="lr")
    optimizer = optim.SGD(net.parameters(), lr, choices.momentum, weight_decay=choices.l2)
    train_step = gc.function([x, y], loss, updates=optimizer.minimize(loss))
    net.eval()
    return train_step, gc.function([x], net(x).argmax(1))


train_step, predict = declare()


def run(choices: Choices = Choices(), epochs: int = 20, seed: int = 0, quiet: bool = True) -> Result:
    """Train and evaluate."""
    step, guess = declare(choices, seed)
    program = gc.compile(train_step=step, predict=guess, name="lenet")
    normalize = data.transforms.Normalize(0.5, 0.5)
    learn, test = (data.Digits(train=part, size=32, transform=normalize) for part in (True, False))
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)

    def schedule(epoch: int) -> None:
        """The learning rate is a variable of the program, and variables are numpy arrays between calls."""
        program.state["lr"][...] = choices.lr if epoch <= 0.7 * epochs else choices.lr / 10

    losses, steps = train(program, loader, epochs, quiet, schedule)
    return Result(losses, steps, accuracy(program, test, BATCH), program)


@click.command()
@options(epochs=20)
@click.option("--lr", default=Choices.lr, show_default=True, help="Learning rate.")
@click.option("--momentum", default=Choices.momentum, show_default=True, help="0 is plain gradient descent.")
@click.option("--batch-norm", is_flag=True, help="Normalise after each convolution.")
@click.option("--dropout", default=0.0, show_default=True, help="Probability, after the first linear layer.")
@click.option("--l1", default=0.0, show_default=True, help="Weight of the sum of |parameter|.")
@click.option("--l2", default=0.0, show_default=True, help="Weight decay.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, **choices: float) -> None:
    """Train LeNet on handwritten digits."""
    result = run(Choices(**choices), epochs, seed, quiet)
    click.echo(f"LeNet: accuracy on the test digits {result.accuracy:.4f}")
    if plot_file:
        plot({"LeNet": result.losses}, plot_file)


if __name__ == "__main__":
    main()
