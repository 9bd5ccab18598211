"""A network from its formulas: layers z = W x + b, a = f(z), a loss, and gradient descent, without nn and optim.

Variables and gradients are all it takes. Activation, loss and L2 penalty can be chosen, and the accuracy on the training
data is printed beside that on the test data: their distance is overfitting.

    python examples/own_network.py
    python examples/own_network.py --activation tanh --loss mse --l2 1e-3
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data

BATCH = 16
SIZES = (784, 128, 10)
ACTIVATIONS: dict[str, Callable[[gc.Tensor], gc.Tensor]] = {
    "relu": lambda z: z.maximum(0.0),
    "sigmoid": lambda z: 1 / (1 + (-z).exp()),
    "tanh": lambda z: z.tanh(),
}


def cross_entropy(z: gc.Tensor, target: gc.Tensor) -> gc.Tensor:
    """- sum of target * log(softmax(z)), mean over the samples; the largest z is taken off first, so that exp is finite."""
    z = z - gc.stop_gradient(z.amax(1, keepdim=True))
    log_softmax = z - z.exp().sum(1, keepdim=True).log()
    return -(target * log_softmax).sum(1).mean()


def mean_squared_error(z: gc.Tensor, target: gc.Tensor) -> gc.Tensor:
    """With the factor 1/2, whose derivative is z - target."""
    return ((z - target) ** 2).sum(1).mean() / 2


LOSSES = {"cross_entropy": cross_entropy, "mse": mean_squared_error}


@dataclass(frozen=True)
class Choices:
    """What can be varied; lr is the learning rate, l2 the weight of the penalty on squared weights."""

    activation: str = "relu"
    loss: str = "cross_entropy"
    lr: float = 0.01
    l2: float = 0.0


def layers(seed: int) -> list[tuple[gc.Variable, gc.Variable]]:
    """(W, b) of each layer; weights are drawn so that each z has about the variance of its inputs."""
    generator = np.random.default_rng(seed)
    result = []
    for i, (inputs, outputs) in enumerate(pairwise(SIZES), 1):
        weights = generator.normal(0, (2 / inputs) ** 0.5, (outputs, inputs)).astype(np.float32)
        result.append((gc.variable(weights, name=f"W{i}"), gc.variable(np.zeros(outputs, np.float32), name=f"b{i}")))
    return result


def declare(choices: Choices = Choices(), seed: int = 0) -> tuple[gc.Function, gc.Function]:
    """(train_step, predict)."""
    x = gc.placeholder((BATCH, 1, 28, 28), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    (w1, b1), (w2, b2) = layers(seed)
    a = ACTIVATIONS[choices.activation](x.flatten(1) @ w1.T + b1)
    z = a @ w2.T + b2
    loss = LOSSES[choices.loss](z, gc.one_hot(y, 10).to(gc.float32))
    if choices.l2:
        loss = loss + choices.l2 / 2 * ((w1**2).sum() + (w2**2).sum())
    parameters = [w1, b1, w2, b2]
    updates = {p: p - choices.lr * g for p, g in zip(parameters, gc.grad(loss, parameters), strict=True)}
    return gc.function([x, y], loss, updates=updates), gc.function([x], z.argmax(1))


def run(choices: Choices = Choices(), epochs: int = 30, seed: int = 0, quiet: bool = True) -> Result:
    """Train and evaluate, on the training data too: extra["training_accuracy"]."""
    train_step, predict = declare(choices, seed)
    program = gc.compile(train_step=train_step, predict=predict)
    learn, test = data.Digits(train=True, size=28), data.Digits(train=False, size=28)
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    losses, steps = train(program, loader, epochs, quiet)
    known = accuracy(program, learn, BATCH)
    return Result(losses, steps, accuracy(program, test, BATCH), program, {"training_accuracy": known})


@click.command()
@options(epochs=30)
@click.option("--activation", type=click.Choice(sorted(ACTIVATIONS)), default="relu", show_default=True)
@click.option("--loss", type=click.Choice(sorted(LOSSES)), default="cross_entropy", show_default=True)
@click.option("--lr", default=Choices.lr, show_default=True, help="Learning rate.")
@click.option("--l2", default=0.0, show_default=True, help="Weight of the penalty on large weights.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, activation: str, loss: str, lr: float, l2: float) -> None:
    """Train a network written from its formulas."""
    result = run(Choices(activation, loss, lr, l2), epochs, seed, quiet)
    click.echo(f"accuracy on the training digits {result.extra['training_accuracy']:.4f}")
    click.echo(f"accuracy on the test digits     {result.accuracy:.4f}")
    if plot_file:
        plot({f"{activation}, {loss}": result.losses}, plot_file)


if __name__ == "__main__":
    main()
