"""The networks and layers that are timed, written once for every library with PyTorch's names.

In: `lib`, a module such as torch or graphc. Out: builders that return a module of that library. Weights are set by
`workloads`, so initial values do not matter here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

Lib = Any
Net = Any
Builder = Callable[[Lib], Net]


def applying(function: Callable[..., Any]) -> Builder:
    """A builder of a module without weights, whose forward is function(lib, *inputs)."""

    def build(lib: Lib) -> Net:
        class Apply(lib.nn.Module):
            def forward(self, *inputs: Any) -> Any:
                return function(lib, *inputs)

        return Apply()

    return build


def mlp(lib: Lib) -> Net:
    return lib.nn.Sequential(lib.nn.Linear(784, 128), lib.nn.ReLU(), lib.nn.Linear(128, 10))


def tiny(lib: Lib) -> Net:
    """So small that it takes no time: for tests of the benchmark itself."""
    return lib.nn.Sequential(lib.nn.Linear(5, 7), lib.nn.ReLU(), lib.nn.Linear(7, 3))


def lenet(lib: Lib) -> Net:
    """LeNet-5 (LeCun et al. 1998) for 32x32 pictures, with ReLU and maximum pooling."""
    nn = lib.nn
    features = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    classifier = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*features, nn.Flatten(), *classifier)


def layer_norm(lib: Lib) -> Net:
    return lib.nn.Sequential(lib.nn.LayerNorm(1024))


def gelu(lib: Lib) -> Net:
    return lib.nn.Sequential(lib.nn.GELU())


def add(lib: Lib, a: Any, b: Any) -> Any:
    return a + b


def gemm(lib: Lib, a: Any, b: Any) -> Any:
    return lib.matmul(a, b)


def gemm_nt(lib: Lib, a: Any, b: Any) -> Any:
    return lib.nn.functional.linear(a, b)


def softmax(lib: Lib, x: Any) -> Any:
    return lib.nn.functional.softmax(x, -1)


def bias_gelu_residual(lib: Lib, x: Any, bias: Any, residual: Any) -> Any:
    return lib.nn.functional.gelu(x + bias) + residual


def attention(lib: Lib, q: Any, k: Any, v: Any) -> Any:
    return lib.nn.functional.scaled_dot_product_attention(q, k, v)


def chain(lib: Lib, x: Any) -> Any:
    """Twenty elementwise operations one after another; values stay small."""
    y = x
    for scale in (0.5, 0.75):
        y = lib.tanh(y * scale + 0.25)
        y = lib.exp(y - 1.0) * y
        y = lib.sigmoid(lib.sqrt(lib.abs(y) + 0.125))
    return y


class _Blocks:
    """Pieces of larger networks, of one library."""

    def __init__(self, lib: Lib) -> None:
        self.lib = lib

    def convolved(self, into: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
        """A convolution, padded so that stride 1 keeps the size, and batch norm."""
        nn = self.lib.nn
        return [nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]

    def basic(self, into: int, width: int, stride: int) -> Net:
        """The block of ResNet-18."""
        first, second = self.convolved(into, width, 3, stride), self.convolved(width, width, 3)
        body = self.lib.nn.Sequential(*first, self.lib.nn.ReLU(), *second)
        return self.residual(body, self._shortcut(into, width, stride))

    def bottleneck(self, into: int, width: int, stride: int) -> Net:
        """The block of ResNet-50, with the stride in its 3x3 convolution, as everybody has it today."""
        nn = self.lib.nn
        narrower, middle = self.convolved(into, width, 1), self.convolved(width, width, 3, stride)
        wider = self.convolved(width, 4 * width, 1)
        body = nn.Sequential(*narrower, nn.ReLU(), *middle, nn.ReLU(), *wider)
        return self.residual(body, self._shortcut(into, 4 * width, stride))

    def _shortcut(self, into: int, out: int, stride: int) -> Net:
        nn = self.lib.nn
        return nn.Sequential(*self.convolved(into, out, 1, stride)) if stride > 1 or into != out else nn.Identity()

    @cached_property
    def residual(self) -> Callable[[Net, Net], Net]:
        """Two ways through the network, added up."""
        lib = self.lib

        class Residual(lib.nn.Module):
            def __init__(self, body: Net, shortcut: Net) -> None:
                super().__init__()
                self.body, self.shortcut = body, shortcut

            def forward(self, x: Any) -> Any:
                return lib.relu(self.body(x) + self.shortcut(x))

        return Residual

    @cached_property
    def inverted(self) -> Callable[[int, int, int, int], Net]:
        """The block of MobileNetV2: wider, depthwise, narrower."""
        nn, convolved = self.lib.nn, self.convolved

        class Inverted(nn.Module):
            def __init__(self, into: int, out: int, stride: int, expansion: int) -> None:
                super().__init__()
                width, self.residual = into * expansion, stride == 1 and into == out
                wider = [*convolved(into, width, 1), nn.ReLU6()] if expansion > 1 else []
                depthwise = [*convolved(width, width, 3, stride, groups=width), nn.ReLU6()]
                self.body = nn.Sequential(*wider, *depthwise, *convolved(width, out, 1))

            def forward(self, x: Any) -> Any:
                return x + self.body(x) if self.residual else self.body(x)

        return Inverted

    @cached_property
    def transformer(self) -> Callable[[int, int, bool], Net]:
        """Attention and a perceptron, normalised before each."""
        lib, nn = self.lib, self.lib.nn

        class Transformer(nn.Module):
            def __init__(self, width: int, heads: int, causal: bool) -> None:
                super().__init__()
                self.heads, self.causal = heads, causal
                self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
                self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
                self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

            def forward(self, x: Any) -> Any:
                batch, length, width = x.shape
                parts = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, width // self.heads)
                q, k, v = (lib.permute(parts[:, :, i], (0, 2, 1, 3)) for i in range(3))
                y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
                x = x + self.out(lib.permute(y, (0, 2, 1, 3)).reshape(batch, length, width))
                return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))

        return Transformer


def _resnet(lib: Lib, block: Any, expansion: int, depths: Iterable[int]) -> Net:
    """A residual network (He et al. 2015) for 224x224 pictures."""
    nn = lib.nn
    layers = [*_Blocks(lib).convolved(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    into = 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for i in range(depth):
            layers.append(block(into, width, 2 if stage and not i else 1))
            into = width * expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(into, 1000))


def resnet18(lib: Lib) -> Net:
    return _resnet(lib, _Blocks(lib).basic, 1, (2, 2, 2, 2))


def resnet50(lib: Lib) -> Net:
    return _resnet(lib, _Blocks(lib).bottleneck, 4, (3, 4, 6, 3))


MOBILENET_V2 = (  # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(lib: Lib) -> Net:
    """MobileNetV2 (Sandler et al. 2018) for 224x224 pictures."""
    nn, blocks = lib.nn, _Blocks(lib)
    layers = [*blocks.convolved(3, 32, 3, 2), nn.ReLU6()]
    into = 32
    for expansion, out, depth, stride in MOBILENET_V2:
        for i in range(depth):
            layers.append(blocks.inverted(into, out, 1 if i else stride, expansion))
            into = out
    layers += [*blocks.convolved(into, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers)


def encoder(width: int, heads: int, layers: int) -> Builder:
    """A stack of transformer blocks without a mask."""
    return lambda lib: lib.nn.Sequential(*(_Blocks(lib).transformer(width, heads, False) for _ in range(layers)))


def gpt(lib: Lib) -> Net:
    """A small language model: 256 wide, 6 layers, 8 heads, 128 positions, 1000 tokens."""
    nn, block = lib.nn, _Blocks(lib).transformer

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(1000, 256), nn.Embedding(128, 256)
            self.blocks = nn.Sequential(*(block(256, 8, True) for _ in range(6)))
            self.norm, self.head = nn.LayerNorm(256), nn.Linear(256, 1000)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions.weight)))

    return Gpt()


def lstm(lib: Lib) -> Net:
    """One layer over a sequence; a classifier of its last output, so that it can be trained too."""
    nn = lib.nn

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = nn.LSTM(256, 256), nn.Linear(256, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.cells(x)[0][-1])

    return Reader()
