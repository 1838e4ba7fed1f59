"""Sentences about the weather, made here, and whether they say that it is good: no download."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

WORDS = (
    "[PAD]",
    "the",
    "a",
    "is",
    "was",
    "day",
    "sky",
    "morning",
    "not",
    "sunny",
    "warm",
    "bright",
    "cold",
    "grey",
    "wet",
    "very",
)
LENGTH = 8
_GOOD, _BAD = ("sunny", "warm", "bright"), ("cold", "grey", "wet")
LABELS = ("bad", "good")


@dataclass(frozen=True)
class Example:
    """One sentence.

    Attributes:
        id: A unique name.
        text: The sentence; one with "not" means the opposite.
        label: 0 or 1, which indexes LABELS.
    """

    id: str
    text: str
    label: int

    def features(self) -> dict[str, list[int] | int]:
        """What the model reads."""
        numbers = [WORDS.index(word) for word in self.text.split()]
        padding = LENGTH - len(numbers)
        mask = [1] * len(numbers) + [0] * padding
        return {"input_ids": numbers + [0] * padding, "attention_mask": mask, "labels": self.label}


def load(name: str) -> list[Example]:
    """The split ``train`` or ``test``: the same ones each time, whatever the seed of the training."""
    examples = []
    parts = (("the", "a"), ("day", "sky", "morning"), ("is", "was"), ("", "not"), ("", "very", "very very"), (*_GOOD, *_BAD))
    for number, words in enumerate(itertools.product(*parts)):
        good = (words[-1] in _GOOD) != ("not" in words)
        examples.append(Example(f"sentence/{number:03d}", " ".join(filter(None, words)), int(good)))
    order = np.random.default_rng(0).permutation(len(examples))
    chosen = order[:288] if name == "train" else order[288:]
    return [examples[number] for number in sorted(chosen)]
