"""ResNet (He et al. 2015, https://arxiv.org/abs/1512.03385): torchvision's names and shapes, and a small one on digits.

`ResNet(*KINDS["resnet18"])` is the whole network: 3 x 224 x 224 pictures, 1000 classes; torchvision's weights load into it.
What is trained here has the same layers with an eighth of the channels, for pictures of 1 x 32 x 32; more than 95 of 100 test
digits are right then.

    python examples/resnet.py
    python examples/resnet.py --kind resnet50 --epochs 20
"""

from __future__ import annotations

from pathlib import Path

import click
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data, nn, optim

BATCH = 32
WIDTH = 8


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: the block of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, into: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = downsample or nn.Identity()

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        y = gc.relu(self.bn1(self.conv1(x)))
        return gc.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1 to fewer channels, 3 x 3, 1 x 1 to four times as many: the block of ResNet-50 and deeper.

    The stride is the 3 x 3 convolution's, as in torchvision; in the paper it is the first one's.
    """

    expansion = 4

    def __init__(self, into: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        out = width * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(into, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = downsample or nn.Identity()

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        y = gc.relu(self.bn1(self.conv1(x)))
        y = gc.relu(self.bn2(self.conv2(y)))
        return gc.relu(self.bn3(self.conv3(y)) + self.downsample(x))


Block = type[BasicBlock] | type[Bottleneck]
KINDS: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """Four stages of blocks, each but the first with half the resolution and twice the channels of the one before.

    (N, in_channels, H, W) -> (N, num_classes); H and W are halved five times, rounded up. `layers` are the numbers of blocks,
    `width` is the number of channels that the first stage works with.
    """

    def __init__(
        self,
        block: Block,
        layers: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
    ) -> None:
        super().__init__()
        grown = width * block.expansion
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = stage(block, width, width, layers[0], stride=1)
        self.layer2 = stage(block, grown, 2 * width, layers[1], stride=2)
        self.layer3 = stage(block, 2 * grown, 4 * width, layers[2], stride=2)
        self.layer4 = stage(block, 4 * grown, 8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * grown, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        x = self.maxpool(gc.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def stage(block: Block, into: int, width: int, count: int, stride: int) -> nn.Sequential:
    """`count` blocks; the first has the stride, and a convolution in its shortcut where the shape changes."""
    out = width * block.expansion
    changes = stride != 1 or into != out
    shortcut = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out)) if changes else None
    return nn.Sequential(block(into, width, stride, shortcut), *(block(out, width) for _ in range(count - 1)))


def declare(kind: str = "resnet18", steps: int = 264, seed: int = 0) -> tuple[gc.Function, gc.Function]:
    """(train_step, predict) of a small network for digits; the rate rises and falls once in `steps` steps."""
    gc.manual_seed(seed)
    net = ResNet(*KINDS[kind], num_classes=10, in_channels=1, width=WIDTH)
    x = gc.placeholder((BATCH, 1, 32, 32), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
    train_step = gc.function([x, y], loss, updates=optimizer.minimize(loss) | schedule.step())
    net.eval()
    return train_step, gc.function([x], net(x).argmax(1))


train_step, predict = declare()


def run(kind: str = "resnet18", epochs: int = 6, seed: int = 0, quiet: bool = True) -> Result:
    """Train and evaluate."""
    learn, test = (data.Digits(train=part, size=32) for part in (True, False))
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    step, guess = declare(kind, epochs * len(loader), seed)
    program = gc.compile(train_step=step, predict=guess, name=kind)
    losses, steps = train(program, loader, epochs, quiet)
    return Result(losses, steps, accuracy(program, test, BATCH), program)


@click.command()
@options(epochs=6)
@click.option("--kind", type=click.Choice(sorted(KINDS)), default="resnet18", show_default=True)
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, kind: str) -> None:
    """Train a narrow ResNet on handwritten digits."""
    result = run(kind, epochs, seed, quiet)
    click.echo(f"{kind}: accuracy on the test digits {result.accuracy:.4f}")
    if plot_file:
        plot({kind: result.losses}, plot_file)


if __name__ == "__main__":
    main()
