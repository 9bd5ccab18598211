"""MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381): torchvision's names and shapes; a small one on digits.

`MobileNetV2()` is the whole network: 3 x 224 x 224 pictures, 1000 classes; torchvision's weights load into it. What is trained
here has its first stages, with a quarter of the channels, for pictures of 1 x 32 x 32; more than 95 of 100 test digits
are right then.

    python examples/mobilenet.py
    python examples/mobilenet.py --width 0.5 --epochs 20
"""

from __future__ import annotations

from pathlib import Path

import click
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data, nn, optim

BATCH = 32
Stages = tuple[tuple[int, int, int, int], ...]  # (expansion, channels, blocks, stride of the first block)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
SMALL = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 2, 2))


def divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, at least one of it, and not less than nine tenths of `channels`."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def conv_bn_relu(into: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size (at stride 1), batch norm, and a rectifier that ends at 6."""
    convolution = nn.Conv2d(into, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU6())


class InvertedResidual(nn.Module):
    """1 x 1 to `expand` times the channels, 3 x 3 in each channel alone, 1 x 1 back to few, without a rectifier at the end.

    The input is added where the shape stays.
    """

    def __init__(self, into: int, out: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = into * expand
        widen = [conv_bn_relu(into, hidden, kernel=1)] if expand != 1 else []
        depthwise = conv_bn_relu(hidden, hidden, stride=stride, groups=hidden)
        self.conv = nn.Sequential(*widen, depthwise, nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out))
        self.residual = stride == 1 and into == out

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """A convolution, stages of inverted residuals, a convolution to the features, their means, a linear layer.

    (N, in_channels, H, W) -> (N, num_classes); the first convolution and each stage of stride 2 halve H and W, rounded up.
    `width_mult` multiplies all channels, except that there are never less than 1280 features.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Stages = STAGES,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        into, last = divisible(32 * width_mult), divisible(1280 * max(1.0, width_mult))
        layers: list[nn.Module] = [conv_bn_relu(in_channels, into, stride=2)]
        for expand, channels, blocks, stride in inverted_residual_setting:
            out = divisible(channels * width_mult)
            for number in range(blocks):
                layers.append(InvertedResidual(into, out, stride if number == 0 else 1, expand))
                into = out
        self.features = nn.Sequential(*layers, conv_bn_relu(into, last, kernel=1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def declare(width: float = 0.25, steps: int = 264, seed: int = 0) -> tuple[gc.Function, gc.Function]:
    """(train_step, predict) of a small network for digits; the rate rises and falls once in `steps` steps."""
    gc.manual_seed(seed)
    net = MobileNetV2(10, width, SMALL, in_channels=1)
    x = gc.placeholder((BATCH, 1, 32, 32), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=4e-5)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=steps)
    train_step = gc.function([x, y], loss, updates=optimizer.minimize(loss) | schedule.step())
    net.eval()
    return train_step, gc.function([x], net(x).argmax(1))


train_step, predict = declare()


def run(width: float = 0.25, epochs: int = 6, seed: int = 0, quiet: bool = True) -> Result:
    """Train and evaluate."""
    learn, test = (data.Digits(train=part, size=32) for part in (True, False))
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    step, guess = declare(width, epochs * len(loader), seed)
    program = gc.compile(train_step=step, predict=guess, name="mobilenet")
    losses, steps = train(program, loader, epochs, quiet)
    return Result(losses, steps, accuracy(program, test, BATCH), program)


@click.command()
@options(epochs=6)
@click.option("--width", default=0.25, show_default=True, help="Factor of all channels.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, width: float) -> None:
    """Train a narrow MobileNetV2 on handwritten digits."""
    result = run(width, epochs, seed, quiet)
    click.echo(f"MobileNetV2: accuracy on the test digits {result.accuracy:.4f}")
    if plot_file:
        plot({"MobileNetV2": result.losses}, plot_file)


if __name__ == "__main__":
    main()
