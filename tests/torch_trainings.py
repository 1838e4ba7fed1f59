"""Small trainings of PyTorch and of Hugging Face's Trainer, to be killed; each returns what its end is known by.

``python -m tests.torch_trainings`` imports PyTorch once, then each training is a fork of that process. `Trainings` is the side
of the tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ALWAYS = 1e9
"""A share of the time that lets every step be saved."""
Stepped = Callable[[int], object]


@dataclass(frozen=True)
class Outcome:
    """How a training ended: its exit code (negative for a signal), the digest of its end, what it wrote, steps it made."""

    status: int
    result: str
    log: str
    steps: int


class Trainings:
    """The process that trainings are forked from."""

    def __init__(self, *, transformers: bool = False) -> None:
        """Import PyTorch, and Transformers too where trainings need it."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith("METRICGATE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torch_trainings", *(["transformers"] if transformers else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "USE_TF": "0"},
            cwd=Path(__file__).parents[1],
        )

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def train(
        self,
        kind: str,
        folder: Path,
        *,
        checkpoints: bool = True,
        kill_after: tuple[int, float] | None = None,
        signal_number: int = signal.SIGKILL,
    ) -> Outcome:
        """One of `KINDS` in a process of its own.

        Args:
            kind: Its name.
            folder: METRICGATE_CHECKPOINT_DIR, and where METRICGATE_PROGRESS is.
            checkpoints: Whether METRICGATE_CHECKPOINT_DIR is set.
            kill_after: Send the signal after so many steps of this process and so many seconds more.
            signal_number: Which.
        """
        assert self._process.stdin
        assert self._process.stdout
        environ = {"METRICGATE_PROGRESS": str(folder / "progress.json"), "PLACE": str(folder)}
        if checkpoints:
            environ["METRICGATE_CHECKPOINT_DIR"] = str(folder / "checkpoints")
        order = {"kind": kind, "environ": environ, "kill_after": kill_after, "signal": int(signal_number)}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the process that trainings are forked from is gone"
        return Outcome(**json.loads(answer))


def killed(trainings: Trainings, kind: str, folder: Path, *, times: int, chance: random.Random) -> tuple[Outcome, int]:
    """Start it, kill it at random moments, start it again, until it ends: its end, and how often it was killed."""
    deaths = 0
    while True:
        moment = (chance.randrange(1, 6), chance.uniform(0, 0.02)) if deaths < times else None
        end = trainings.train(kind, folder, kill_after=moment)
        if end.status != -signal.SIGKILL:
            return end, deaths
        deaths += 1


def _serve() -> None:
    import torch

    import metricgate.torch  # all imported once

    if "transformers" in sys.argv:
        import transformers

        import metricgate.transformers  # noqa: F401 - imported once

        _ = transformers.Trainer, transformers.BertForSequenceClassification  # these are imported when they are looked at
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # imports for a second
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_one(json.loads(line))) + "\n")
        sys.stdout.flush()


def _one(order: dict[str, Any]) -> dict[str, Any]:
    told, tell = os.pipe()
    log, write_log = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write_log, 1)
        os.dup2(write_log, 2)
        os.close(0)
        _child(order, tell)
    os.close(tell)
    os.close(write_log)
    heard, text = b"", b""
    after, delay = order["kill_after"] or (0, 0.0)
    mark: float | None = None
    open_ends = {told, log}
    while open_ends:
        if after and mark is None and heard.count(b".") >= after:
            mark = time.monotonic() + delay
        ready, _, _ = select.select(list(open_ends), [], [], None if mark is None else max(0.0, mark - time.monotonic()))
        if not ready:
            os.kill(child, order["signal"])
            after, mark = 0, None
        for end in ready:
            data = os.read(end, 65536)
            if not data:
                open_ends.discard(end)
            elif end == told:
                heard += data
            else:
                text += data
    _, status = os.waitpid(child, 0)
    os.close(told)
    os.close(log)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "result": heard.decode().strip("."),
        "log": text.decode(errors="replace"),
        "steps": heard.count(b"."),
    }


def _child(order: dict[str, Any], tell: int) -> None:
    import torch

    code = 1
    try:
        os.environ.update(order["environ"])
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        model = KINDS[order["kind"]](lambda _: os.write(tell, b"."))
        digest = hashlib.sha256()
        for name, value in sorted(model.state_dict().items()):
            digest.update(name.encode() + value.numpy().tobytes())
        os.write(tell, digest.hexdigest().encode())
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:  # noqa: BLE001 - the one who waits has to know
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Noisy:
    """Examples that are changed at random, with all three generators."""

    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        x = np.random.default_rng(index).normal(size=8) + np.random.normal(scale=0.1) + random.gauss(0, 0.1)
        return torch.tensor(x, dtype=torch.float32) + 0.1 * torch.randn(8), index % 2


def network() -> Any:
    """Dropout and batch normalisation."""
    from torch import nn

    return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 2))


def epochs(stepped: Stepped) -> Any:
    """Adam, a schedule that steps at the end of an epoch, a smaller last batch, the data's own order."""
    import torch

    from metricgate.torch import Batches, Resume

    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.8)
    batches = Batches(50, batch_size=8, seed=3)
    loader: Any = torch.utils.data.DataLoader(Noisy(), batch_sampler=batches)  # type: ignore[arg-type,unused-ignore]
    resume = Resume(model, optimizer, scheduler=scheduler, sampler=batches, seconds=0, share=ALWAYS)
    for epoch in resume.epochs(4):
        for x, y in loader:
            optimizer.zero_grad()
            loss: Any = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            stepped(epoch)
            resume.step(loss=loss)
        scheduler.step()
        resume.extras["ends"] = [*resume.extras.get("ends", []), epoch]
    if resume.extras["ends"] != [0, 1, 2, 3]:
        raise AssertionError(resume.extras)
    return model


def accumulating(stepped: Stepped) -> Any:
    """Gradients of two batches together, scaled; a rate that changes with each of them; saved every few steps by hand."""
    import torch

    from metricgate.torch import Batches, Resume

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=16)
    scaler = torch.amp.GradScaler("cpu", growth_interval=3)
    batches = Batches(50, batch_size=6, seed=4, drop_last=True)
    loader: Any = torch.utils.data.DataLoader(Noisy(), batch_sampler=batches)  # type: ignore[arg-type,unused-ignore]
    resume = Resume(model, optimizer, scheduler=scheduler, scaler=scaler, sampler=batches, seconds=1e6)
    for epoch in resume.epochs(4):
        for number, (x, y) in enumerate(loader, start=resume.position.batch):
            loss: Any = scaler.scale(torch.nn.functional.cross_entropy(model(x), y))
            loss.backward()
            whole = number % 2 == 1
            if whole:
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                scheduler.step()
            stepped(epoch)
            resume.step(accumulating=not whole)
            if number % 4 == 3:
                resume.save()
    return model


def trainer(stepped: Stepped, **options: Any) -> Any:
    """Hugging Face's Trainer: a tiny text model with dropout, saved every step."""
    import transformers

    import metricgate.transformers

    bert: Any = transformers.BertConfig
    config = bert(
        vocab_size=12,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
        num_labels=2,
    )
    model = transformers.BertForSequenceClassification(config)
    texts = np.random.default_rng(0).integers(0, 12, (40, 6))
    data = [{"input_ids": text.tolist(), "labels": int(text.sum() > 33)} for text in texts]
    where = metricgate.transformers.place(str(Path(os.environ["PLACE"], "default")))
    arguments = transformers.TrainingArguments(
        output_dir=where.output_dir,
        **{
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.01,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "logging_steps": 2,
            "use_cpu": True,
            **options,
        },
    )

    class Watch(transformers.TrainerCallback):  # type: ignore[misc,unused-ignore]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            stepped(0)

    callbacks: list[Any] = [metricgate.transformers.Resume(seconds=0, share=ALWAYS), Watch()]
    trainer_: Any = transformers.Trainer(
        model=model, args=arguments, train_dataset=data, eval_dataset=data[:8], callbacks=callbacks
    )
    trainer_.train(resume_from_checkpoint=where.resume_from_checkpoint)
    return trainer_.model


def trainer_best(stepped: Stepped) -> Any:
    """The best of the epochs' models is the end; gradients of two batches together."""
    best = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    return trainer(stepped, **best, gradient_accumulation_steps=2, num_train_epochs=3, save_total_limit=1)


KINDS: dict[str, Callable[[Stepped], Any]] = {kind.__name__: kind for kind in (epochs, accumulating, trainer, trainer_best)}


def files(folder: Path) -> Iterator[Path]:
    """All files of checkpoints."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))


if __name__ == "__main__":
    _serve()
