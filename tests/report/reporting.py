"""A small network of one's own."""

NETS = """
import torch
from torch import nn

def tiny(num_classes=10, in_channels=1):
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(in_channels, 12, 3, padding=1), nn.ReLU(),
        nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
NET = "report_nets:tiny"
"""Its name for --net, with `NETS` in a module report_nets."""
