"""Concepts by hand: gradients, a data set of one's own, a loader, a module, training, evaluation.

The network of the basics, with log_softmax as its last layer, and the mean loss of each epoch. Cross entropy takes the log of
a softmax itself; of numbers that already are one it is unchanged, so nothing is wrong, and nothing gained.

    python examples/hands_on.py
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from sklearn.datasets import load_digits
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data, nn, optim

BATCH = 64


def gradients() -> dict[str, float]:
    """Autograd: f = x**2 * y, its derivatives by x and y, and the second derivative by x, at x = 3, y = 2."""
    x, y = gc.placeholder((), gc.float32, name="x"), gc.placeholder((), gc.float32, name="y")
    f = x**2 * y
    dx, dy = gc.grad(f, [x, y])
    program = gc.compile(f=gc.function([x, y], {"f": f, "dx": dx, "dy": dy, "dxdx": gc.grad(dx, x)}))
    return {name: float(value) for name, value in program.f(3.0, 2.0).items()}


class Handwriting(data.Dataset):
    """A data set is a length and a way to get sample i. Pictures of 0 ... 255 become arrays of 0 ... 1, once."""

    def __init__(self, train: bool) -> None:
        digits = load_digits()
        chosen = (np.arange(len(digits.target)) % 5 != 4) == train
        transform = data.transforms.Compose([data.transforms.Resize(28), data.transforms.ToTensor()])
        pictures = (digits.images[chosen] * (255 / 16)).astype(np.uint8)
        self.images, self.labels = [transform(picture) for picture in pictures], digits.target[chosen]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        return self.images[index], self.labels[index]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10), nn.LogSoftmax(dim=1))

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return self.layers(x)


def run(epochs: int = 40, seed: int = 0, quiet: bool = True) -> Result:
    """Train and evaluate. `predict` has no updates, so nothing needs to be told not to compute gradients."""
    gc.manual_seed(seed)
    net, criterion = Net(), nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x = gc.placeholder((BATCH, 1, 28, 28), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = criterion(net(x), y)
    program = gc.compile(
        train_step=gc.function([x, y], loss, updates=optimizer.minimize(loss)),
        predict=gc.function([x], net(x).argmax(1)),
    )
    loader = data.DataLoader(Handwriting(train=True), BATCH, shuffle=True, drop_last=True, seed=seed)
    losses, steps = train(program, loader, epochs, quiet)
    return Result(losses, steps, accuracy(program, Handwriting(train=False), BATCH), program)


@click.command()
@options(epochs=40)
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool) -> None:
    """Gradients, then the training of a small network on handwritten digits, with nothing left out."""
    for name, value in gradients().items():
        click.echo(f"{name} at x = 3, y = 2: {value:g}")
    result = run(epochs, seed, quiet)
    click.echo(f"accuracy on the test digits {result.accuracy:.4f}")
    if plot_file:
        plot({"training": result.losses}, plot_file)


if __name__ == "__main__":
    main()
