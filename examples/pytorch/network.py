"""A small convolutional network with everything that makes going on hard: dropout, batch normalisation."""

from __future__ import annotations

import torch


def digits() -> torch.nn.Module:
    """From images (n, 1, 8, 8) to ten logits."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
