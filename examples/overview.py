"""A tour: arithmetic, convolution and pooling, optimisers, a state on disk, pruning, quantisation, and networks that use them.

python examples/overview.py                     the tour, and a convolutional network on digits, trained by Adam
python examples/overview.py --optimizer sgd     by SGD
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data, nn, optim
from graphc.nn.utils import prune
from graphc.runtime.program import Program

BATCH = 64
F = nn.functional
NOISE_LR = 0.002
OPTIMIZERS = {
    "adam": lambda parameters: optim.Adam(parameters, lr=1e-3),
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.03, momentum=0.9),
}


def arithmetic() -> dict[str, np.ndarray]:
    """Tensors are declared, combined, and computed when the compiled function is called."""
    a, b = gc.placeholder((2, 2), gc.float32, name="a"), gc.placeholder((2, 2), gc.float32, name="b")
    results = {"sum": a + b, "difference": a - b, "product": a * b, "quotient": a / b, "matrix_product": a @ b}
    program = gc.compile(all=gc.function([a, b], results))
    return program.all([[1.0, 2.0], [3.0, 4.0]], [[2.0, 0.5], [1.0, 4.0]])


def convolution_and_pooling() -> dict[str, np.ndarray]:
    """An edge detector, and the largest and the mean value of each 2 x 2 window, on an image with one bright half."""
    image = gc.placeholder((1, 1, 4, 4), gc.float32, name="image")
    kernel = gc.constant(np.array([[[[-1, 1]]]], np.float32))
    results = {
        "edges": F.conv2d(image, kernel),
        "largest": F.max_pool2d(image, 2),
        "mean": F.avg_pool2d(image, 2),
    }
    program = gc.compile(look=gc.function([image], results))
    return program.look(np.tile(np.array([0, 0, 0, 1], np.float32), (1, 1, 4, 1)))


class Regressor(nn.Module):
    """Convolution, pooling, and a linear layer of exactly the size that the convolution leaves: 32 channels of 15 x 15."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 32, 3, 1), nn.Linear(32 * 15 * 15, 10)

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return self.fc(F.max_pool2d(gc.relu(self.conv(x)), 2).flatten(1))


class TwoConvolutions(nn.Module):
    """Fits a picture to a picture: 20 channels of 5 x 5, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 20, 5)

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return gc.relu(self.conv2(gc.relu(self.conv1(x))))


def fit_noise(net: nn.Module, steps: int = 20, batch: int = 64, seed: int = 0) -> list[float]:
    """The losses of a network (MSE, SGD) that learns one batch of random 32 x 32 images by heart."""
    x = gc.placeholder((batch, 1, 32, 32), gc.float32, name="x")
    prediction = net(x)
    target = gc.placeholder(prediction.shape, gc.float32, name="target")
    loss = nn.MSELoss()(prediction, target)
    program = gc.compile(step=gc.function([x, target], loss, updates=optim.SGD(net.parameters(), lr=NOISE_LR).minimize(loss)))
    generator = np.random.default_rng(seed)
    images, targets = (generator.normal(size=p.shape).astype(np.float32) for p in (x, target))
    return [float(program.step(images, targets)) for _ in range(steps)]


class Net(nn.Module):
    """Two convolutions, one pooling, dropout, and log-probabilities of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, 1), nn.Conv2d(8, 16, 3, 1)
        self.dropout = nn.Dropout(0.25)
        self.fc1, self.fc2 = nn.Linear(16 * 12 * 12, 64), nn.Linear(64, 10)

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        x = gc.relu(self.conv2(gc.relu(self.conv1(x))))
        x = self.dropout(F.max_pool2d(x, 2).flatten(1))
        return gc.log_softmax(self.fc2(gc.relu(self.fc1(x))), 1)


def compiled(optimizer: str, seed: int) -> Program:
    """`train_step` and `predict` of a new network."""
    gc.manual_seed(seed)
    net = Net()
    x = gc.placeholder((BATCH, 1, 28, 28), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = nn.NLLLoss()(net(x), y)
    step = gc.function([x, y], loss, updates=OPTIMIZERS[optimizer](net.parameters()).minimize(loss))
    net.eval()
    return gc.compile(train_step=step, predict=gc.function([x], net(x).argmax(1)))


def digits(train_part: bool) -> data.TensorDataset:
    """Digits as images of 28 x 28, with the mean and deviation of MNIST taken out."""
    normalize = data.transforms.Normalize(0.1307, 0.3081)
    plain = data.Digits(train=train_part, size=28)
    return data.TensorDataset(normalize(plain.arrays[0]), plain.arrays[1])


def run(optimizer: str = "adam", epochs: int = 12, seed: int = 0, quiet: bool = True) -> Result:
    """Train and evaluate; then put the state on disk and into a second program."""
    program = compiled(optimizer, seed)
    loader = data.DataLoader(digits(True), BATCH, shuffle=True, drop_last=True, seed=seed)
    losses, steps = train(program, loader, epochs, quiet)
    test = digits(False)
    again = compiled(optimizer, seed + 1)
    with TemporaryDirectory() as folder:
        gc.save_state(program.state_dict(), Path(folder, "state.safetensors"))
        again.load_state_dict(gc.load_state(Path(folder, "state.safetensors")))
    restored = accuracy(again, test, BATCH)
    return Result(losses, steps, accuracy(program, test, BATCH), program, {"restored": restored})


def pruned(trained: Program, share: float) -> nn.Module:
    """The trained network without the smallest weights of all layers together, for evaluation."""
    net = Net().eval()
    net.load_state_dict(trained.state_dict(), strict=False)  # all but the state of the optimiser
    weights = [(module, "weight") for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    prune.global_unstructured(weights, prune.L1Unstructured, amount=share)
    for module, name in weights:
        prune.remove(module, name)  # training on, with what is pruned kept at zero, would need the masks
    return net


def predictor(net: nn.Module) -> Program:
    """`predict` alone."""
    x = gc.placeholder((BATCH, 1, 28, 28), gc.float32, name="x")
    return gc.compile(predict=gc.function([x], net(x).argmax(1)))


@click.command()
@options(epochs=12)
@click.option("--optimizer", type=click.Choice(sorted(OPTIMIZERS)), default="adam", show_default=True)
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, optimizer: str) -> None:
    """A tour of what there is, and the training of a convolutional network on handwritten digits."""
    for name, value in (arithmetic() | convolution_and_pooling()).items():
        click.echo(f"{name}: {value.tolist()}")
    gc.manual_seed(seed)
    for net in (Regressor(), TwoConvolutions()):
        losses = fit_noise(net, batch=16)
        click.echo(f"{type(net).__name__} on random images: loss {losses[0]:.4f}, after {len(losses)} steps {losses[-1]:.4f}")
    result = run(optimizer, epochs, seed, quiet)
    click.echo(f"accuracy on the test digits {result.accuracy:.4f}; of its state, restored, {result.extra['restored']:.4f}")
    net = pruned(result.program, 0.5)
    zeros = sum(int((p.initial == 0).sum()) for p in net.parameters())
    click.echo(f"accuracy with {zeros} weights pruned {accuracy(predictor(net), digits(False), BATCH):.4f}")
    small = predictor(gc.quantization.quantize_dynamic(net, {nn.Linear}, dtype=gc.int8))
    before, after = (sum(array.nbytes for array in states.values()) for states in (net.state_dict(), small.state))
    click.echo(
        f"accuracy with linear layers of 8 bits {accuracy(small, digits(False), BATCH):.4f}; {before} bytes, now {after}"
    )
    if plot_file:
        plot({optimizer: result.losses}, plot_file)


if __name__ == "__main__":
    main()
