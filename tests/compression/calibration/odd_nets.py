"""Small networks that do what makes passes hard to take apart."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InPlace(nn.Module):
    """As torchvision's residual networks: ReLU(inplace=True) and ``+=`` after a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norms[0](self.stem(x)))
        for conv, norm in zip(self.convs, self.norms[1:], strict=True):
            out = norm(conv(x))
            out += x
            x = self.relu(out)
        return self.head(x.mean((2, 3)))


class ChangedLater(nn.Module):
    """A map that is read by one layer, changed through a view, and read by the next."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = (nn.Conv2d(c, 6, 3, padding=1) for c in (3, 6, 6))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        half = x[:, :3]
        y = self.a(x)
        half.mul_(2).add_(y[:, 3:])
        z = self.b(x)
        z -= x
        y.relu_()
        return self.head((z + y).flatten(2).mean(2))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2, 1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        top = F.relu(self.down1(x))
        x = F.relu(self.down2(top), inplace=True)
        x = self.up(F.max_pool2d(self.middle(x), 3, 1, 1))
        return self.out(torch.cat([F.interpolate(x, size=top.shape[2:]), top], 1))


class Dense(nn.Module):
    """Every layer reads all before it, and one of the results is in the answer as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3 + 4 * i) for i in range(4))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            maps.append(self.drop(layer(F.relu(norm(torch.cat(maps, 1)), inplace=True))))
        return torch.cat([m.mean((2, 3)) for m in maps], 1)


class Shared(nn.Module):
    """One layer called three times, with another between, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.twice = nn.Conv2d(3, 3, 3, padding=1)
        self.between = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x).relu_()
        x = self.again(self.between(x)) + x
        return self.twice(x).mean((2, 3))


class Split(nn.Module):
    """Tuples and dicts from modules, a buffer that is used, and chunks of one map."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(4, 4, 1)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        pooled, indices = self.pool(self.a(x))
        one, other = F.max_unpool2d(pooled, indices, 2).chunk(2, 1)
        both = {"one": self.b(one) * self.scale, "other": other}
        return self.c(both["one"] + both["other"]).flatten(1)


class Sequence(nn.Module):
    """An LSTM and attention: their parameters are used without a call of their layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.mix = nn.Linear(16, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(1, 2))
        state = torch.zeros(1, len(x), 16, device=x.device)
        x, _ = self.lstm(x, (state, state.clone()))
        x = self.mix(x)
        x = x + self.attention(x, x, x)[0]
        q, k, v = x.reshape(len(x), -1, 2, 8).transpose(1, 2).chunk(3, 2)
        x = (
            F.scaled_dot_product_attention(q, k, v).flatten(1, 2)
            + self.block(x).mean(1)[:, None, :8]
        )
        return self.head(torch.cat([x, x], 2).mean(1))


class Branching(nn.Module):
    """Which map is read, and how often a layer is called, depends on what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.c, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.a(x), self.b(x)
        y = self.c(one if x.mean() > 0 else other)
        y = y + (one if y.mean() > y.median() else other)
        while float(y.abs().max()) > 1:
            y = 0.5 * y
        return self.head(y.mean((2, 3)))


class Unseen(nn.Module):
    """Reads values past PyTorch's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        shift = float(x.numpy().mean())
        return self.b(x - x.data).mean((2, 3)) + shift


class Remembering(nn.Module):
    """Keeps a map of the pass before."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.before: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        shift = 0.0 if self.before is None else 0.0 * self.before.mean()
        self.before = x
        return self.b(x).mean((2, 3)) + shift


REPLAYED = (InPlace, ChangedLater, UNet, Dense, Shared, Split, Sequence)
IRREGULAR = (Branching, Unseen, Remembering)


def odd(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()
