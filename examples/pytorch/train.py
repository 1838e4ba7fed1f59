"""Train a classifier of digits with PyTorch and save it; killed at any moment, it goes on where it was.

metricgate sets METRICGATE_SEED, METRICGATE_MODEL and METRICGATE_CHECKPOINT_DIR; without it the defaults are used.
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path

import data
import network
import numpy as np
import torch

from metricgate.torch import Batches, Resume


def main(arguments: list[str] | None = None) -> None:
    """Read the options, train, save."""
    options = parse(arguments)
    seed_everything(options.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train = data.load("train")
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(train.images), torch.from_numpy(train.labels))

    model = network.digits().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    batches = Batches(len(dataset), batch_size=32, seed=options.seed)
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=batches)

    resume = Resume(model, optimizer, scheduler=scheduler, sampler=batches, seconds=options.save_every)
    for epoch in resume.epochs(options.epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            resume.step(loss=loss)
        scheduler.step()
        print(f"epoch {epoch + 1} of {options.epochs}", flush=True)

    options.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), options.output)
    print(f"saved as {options.output}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options, with the environment as their defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=3e-3, help="the first learning rate; default: %(default)s")
    parser.add_argument("--save-every", type=float, default=30, metavar="S", help="seconds; default: %(default)s")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("METRICGATE_SEED", "0")))
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("METRICGATE_MODEL", "outputs/model.pt")))
    return parser.parse_args(arguments)


def seed_everything(seed: int) -> None:
    """The same seed gives the same model on the same hardware."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


if __name__ == "__main__":
    main()
