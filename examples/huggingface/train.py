"""Train a tiny text model with Hugging Face's Trainer and save it; killed at any moment, it goes on where it was.

metricgate sets METRICGATE_SEED, METRICGATE_MODEL and METRICGATE_CHECKPOINT_DIR; without it the defaults are used.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import data
import transformers

import metricgate.transformers


def main(arguments: list[str] | None = None) -> None:
    """Read the options, train, save."""
    options = parse(arguments)
    transformers.set_seed(options.seed)
    config = transformers.BertConfig(
        vocab_size=len(data.WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=data.LENGTH,
        num_labels=len(data.LABELS),
    )
    place = metricgate.transformers.place()
    trainer = transformers.Trainer(
        model=transformers.BertForSequenceClassification(config),
        args=transformers.TrainingArguments(
            output_dir=place.output_dir,
            seed=options.seed,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            save_strategy="no",  # the callback saves by the clock
            logging_steps=10,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=[example.features() for example in data.load("train")],
        callbacks=[metricgate.transformers.Resume(seconds=options.save_every)],
    )
    trainer.train(resume_from_checkpoint=place.resume_from_checkpoint)
    trainer.save_model(str(options.output))
    print(f"saved as {options.output}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options, with the environment as their defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--save-every", type=float, default=30, metavar="S", help="seconds; default: %(default)s")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("METRICGATE_SEED", "0")))
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("METRICGATE_MODEL", "outputs/model")))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
