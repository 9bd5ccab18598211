"""The distinct convolutions of the networks, as records; each is a workload of its own.

In: nothing. Out: CONVOLUTIONS, in the order of the networks, without repetitions. All are padded so that stride 1 keeps the
size, and have neither bias nor anything behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from .models import MOBILENET_V2, Builder


@dataclass(frozen=True)
class Convolution:
    """`size` is height and width of what comes in."""

    into: int
    out: int
    kernel: int
    size: int
    stride: int = 1
    groups: int = 1
    batch: int = 1

    @property
    def name(self) -> str:
        kind = f"conv{self.kernel}x{self.kernel}" if self.groups == 1 else f"depthwise{self.kernel}x{self.kernel}"
        channels = f"{self.into}to{self.out}" if self.groups == 1 else f"{self.into}"
        return f"{kind}_{channels}_{self.size}{'_s2' * (self.stride == 2)}{f'_b{self.batch}' * (self.batch > 1)}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.into, self.size, self.size

    @property
    def build(self) -> Builder:
        parameters = self.into, self.out, self.kernel, self.stride, self.kernel // 2
        return lambda lib: lib.nn.Sequential(lib.nn.Conv2d(*parameters, groups=self.groups, bias=False))


def _resnet18() -> Iterator[Convolution]:
    into, size = 64, 56
    for stage in range(4):
        width, stride = 64 << stage, 2 if stage else 1
        yield Convolution(into, width, 3, size, stride)
        if stride > 1:
            yield Convolution(into, width, 1, size, stride)
        into, size = width, size // stride
        yield Convolution(width, width, 3, size)


def _resnet50() -> Iterator[Convolution]:
    yield Convolution(3, 64, 7, 224, 2)
    into, size = 64, 56
    for stage in range(4):
        width, stride = 64 << stage, 2 if stage else 1
        yield Convolution(into, width, 1, size)
        yield Convolution(width, width, 3, size, stride)
        if stride > 1:
            yield Convolution(into, 4 * width, 1, size, stride)
        into, size = 4 * width, size // stride
        yield Convolution(width, into, 1, size)
        yield Convolution(into, width, 1, size)
        yield Convolution(width, width, 3, size)


def _mobilenet_v2() -> Iterator[Convolution]:
    yield Convolution(3, 32, 3, 224, 2)
    into, size = 32, 112
    for expansion, out, depth, stride in MOBILENET_V2:
        for i in range(depth):
            wide, step = into * expansion, 1 if i else stride
            if expansion > 1:
                yield Convolution(into, wide, 1, size)
            yield Convolution(wide, wide, 3, size, step, groups=wide)
            into, size = out, size // step
            yield Convolution(wide, out, 1, size)
    yield Convolution(into, 1280, 1, size)


def _distinct() -> Iterator[Convolution]:
    residual = dict.fromkeys(chain(_resnet18(), _resnet50()))
    yield from dict.fromkeys(chain(residual, _mobilenet_v2()))
    yield from (replace(each, batch=8) for each in residual if each.kernel < 7)


CONVOLUTIONS = tuple(_distinct())
