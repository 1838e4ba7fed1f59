"""The kinds of data that Keras takes: how a pass over each is begun at any of its batches. See the module `positions`."""

# ruff: noqa: SLF001 - Keras has no public way to a position in its data; a test holds it to what is used here

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import tree

from metricgate.keras import randomness


def source(batches: Any, *, seed: int, replicas: int) -> Source:  # noqa: PLR0911 - one for each kind
    """The kind of the data of an EpochIterator."""
    kind = type(batches.data_adapter).__name__
    if replicas > 1:
        return Source(batches, why="a distribution strategy splits its batches")
    if kind == "ArrayDataAdapter":
        return Arrays(batches, seed=seed)
    if kind == "PyDatasetAdapter":
        return PyDataset(batches, seed=seed)
    if batches.num_batches is None and keras.backend.backend() != "tensorflow":
        return Source(batches, why="nobody knows how many batches an epoch has; say steps_per_epoch")
    if kind == "TFDatasetAdapter":
        return TensorFlowDataset(batches)
    if kind == "GeneratorDataAdapter":
        return Generator(batches)
    return Source(batches, why=f"{kind.removesuffix('Adapter')} data can't be asked for a position")


class Source:
    """Data that says nothing about its order: an interrupted epoch begins again.

    Attributes:
        exact: Whether a pass can begin at any batch.
        why: If not, the reason.
    """

    exact = False
    why = ""

    def __init__(self, batches: Any, *, why: str = "") -> None:
        self.batches = batches
        self.adapter = batches.data_adapter
        self.why = why

    def begin(self, number: int, skip: int) -> Any:
        """What Keras' step reads pass ``number`` from, without its first ``skip`` batches."""
        del number
        iterator = iter(self.batches._get_iterator())
        return itertools.islice(iterator, skip, None) if skip else iterator

    def replay_epoch(self, number: int) -> None:
        """Epoch ``number`` was used by a process before this one."""

    def replay_passes(self, count: int) -> None:
        """So were ``count`` passes as a whole."""

    def epoch_begins(self, number: int, place: tuple[int, int] | None) -> None:
        """Epoch ``number`` of this ``fit`` begins, and with it a pass at ``place``, as `begin` will be told."""
        del number, place
        self.adapter.on_epoch_begin()

    def epoch_ends(self, number: int) -> None:
        """It is over."""
        del number
        self.adapter.on_epoch_end()


class Arrays(Source):
    """Arrays: the order of a pass is drawn here, not by Keras."""

    exact = True

    def __init__(self, batches: Any, *, seed: int) -> None:
        super().__init__(batches)
        self._seed = seed
        self._examples, self._size = self.adapter._num_samples, self.adapter._batch_size
        self._shuffle = self.adapter._shuffle
        self._dataset: tuple[Any, Any] | None = None

    def begin(self, number: int, skip: int) -> Any:
        """As `Source.begin`."""
        order = self._order(number)[skip * self._size :]
        if keras.backend.backend() != "tensorflow":
            name = "get_torch_dataloader" if keras.backend.backend() == "torch" else f"get_{keras.backend.backend()}_iterator"
            setattr(self.adapter, name, lambda: self._gather(order))
            return iter(self.batches._get_iterator())
        if self._dataset is None:
            self._dataset = self._make(order)
        variable, dataset = self._dataset
        variable.assign(order)
        return iter(dataset)

    def _order(self, number: int) -> np.ndarray[Any, Any]:
        order = np.arange(self._examples)
        if self._shuffle == "batch":
            generator = np.random.default_rng([self._seed, number])
            for start in range(0, self._examples, self._size):
                generator.shuffle(order[start : start + self._size])
        elif self._shuffle:
            np.random.default_rng([self._seed, number]).shuffle(order)
        return order

    def _gather(self, order: np.ndarray[Any, Any]) -> Iterator[Any]:
        from keras.src.trainers.data_adapters import array_slicing

        backend = keras.backend.backend()
        inputs = array_slicing.convert_to_sliceable(self.adapter._inputs, target_backend=backend)
        for start in range(0, len(order), self._size):
            numbers = order[start : start + self._size]
            chosen = numbers if self._shuffle else slice(int(numbers[0]), int(numbers[-1]) + 1)

            def part(sliceable: Any, chosen: Any = chosen) -> Any:
                found = getattr(sliceable, f"convert_to_{backend}_compatible")(sliceable[chosen])
                return keras.ops.convert_to_tensor(found) if backend == "torch" else found

            yield tree.map_structure(part, inputs, none_is_leaf=False)

    def _make(self, order: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        # As Keras' ArrayDataAdapter.get_tf_dataset, with an order that comes from outside: one dataset for all passes, since
        # making one costs a trace.
        import tensorflow as tf
        from keras.src.trainers.data_adapters import array_slicing

        size, rest = self._size, self._examples % self._size
        with tf.device("CPU:0"):
            variable = tf.Variable(order, shape=[None], dtype=tf.int64, trainable=False)
        inputs = array_slicing.convert_to_sliceable(self.adapter._inputs, target_backend="tensorflow")
        inputs = tree.lists_to_tuples(inputs)

        def parts(_: Any) -> Any:
            whole = variable.read_value()
            full = tf.shape(whole)[0] // size
            batches = tf.data.Dataset.from_tensor_slices(tf.reshape(whole[: full * size], [full, size]))
            return batches.concatenate(tf.data.Dataset.from_tensors(whole[full * size :])) if rest else batches

        def batch(indices: Any, data: Any) -> Any:
            def part(value: Any) -> Any:
                if isinstance(value, array_slicing.TensorflowSparseWrapper):
                    return array_slicing.slice_tensorflow_sparse_wrapper(value, indices)
                if isinstance(value, (list, tuple, dict)):
                    return None
                return tf.gather(value, indices, axis=0) if tf.is_tensor(value) else value

            return tree.traverse(part, data)

        numbers = tf.data.Dataset.range(1).flat_map(parts)
        dataset = tf.data.Dataset.zip((numbers, tf.data.Dataset.from_tensors(inputs).repeat()))
        dataset = dataset.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
        return variable, dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


class _Ordered(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """A PyDataset whose batches come in a given order from a given one on."""

    def __init__(self, inner: Any) -> None:
        super().__init__(
            workers=inner.workers, use_multiprocessing=inner.use_multiprocessing, max_queue_size=inner.max_queue_size
        )
        self.inner = inner
        self.order: list[int] | None = None
        self.start = 0

    def __getitem__(self, index: int) -> Any:
        return self.inner[self.start + index if self.order is None else self.order[self.start + index]]

    @property
    def num_batches(self) -> int | None:
        """How many are left."""
        count = self.inner.num_batches
        return None if count is None else count - self.start


class PyDataset(Source):
    """A keras.utils.PyDataset: any of its batches can be had."""

    exact = True

    def __init__(self, batches: Any, *, seed: int) -> None:
        super().__init__(batches)
        from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

        original = self.adapter
        self._seed = seed
        self._shuffle = original.shuffle
        self._inner = original.py_dataset
        self._data = _Ordered(self._inner)
        if batches.steps_per_epoch and original.enqueuer:
            self.exact, self.why = False, "steps_per_epoch with several workers does not tell which batches are used"
        self.adapter = PyDatasetAdapter(self._data, class_weight=original.class_weight, shuffle=False)
        self.adapter._output_signature = original._output_signature
        if keras.backend.backend() == "tensorflow":
            self._dataset = self.adapter.get_tf_dataset()
            batches._distributed_dataset = self._dataset
        batches.data_adapter = self.adapter

    def epoch_begins(self, number: int, place: tuple[int, int] | None) -> None:
        """As `Source.epoch_begins`: first the data prepares the epoch, then it is put in order, then workers fetch."""
        with randomness.seeded([self._seed, number, 0]):
            self._inner.on_epoch_begin()
        if place is not None:
            self._arrange(*place)
        self.adapter.on_epoch_begin()

    def begin(self, number: int, skip: int) -> Any:
        """As `Source.begin`; the data is arranged already."""
        del number, skip
        return iter(self.batches._get_iterator())

    def epoch_ends(self, number: int) -> None:
        """As `Source.epoch_ends`."""
        self.adapter.on_epoch_end()
        with randomness.seeded([self._seed, number, 1]):
            self._inner.on_epoch_end()

    def replay_epoch(self, number: int) -> None:
        """What the data does between epochs, it does again."""
        with randomness.seeded([self._seed, number, 0]):
            self._inner.on_epoch_begin()
        with randomness.seeded([self._seed, number, 1]):
            self._inner.on_epoch_end()

    def _arrange(self, number: int, skip: int) -> None:
        count = self._inner.num_batches
        self._data.start, self._data.order = skip, None
        if self._shuffle and count is not None:
            generator = np.random.default_rng([self._seed, number])
            self._data.order = [int(index) for index in generator.permutation(count)]


class TensorFlowDataset(Source):
    """A tf.data.Dataset. Its shuffles and its random operations begin anew with each iterator, as those before left them."""

    exact = True

    def begin(self, number: int, skip: int) -> Any:
        """As `Source.begin`; what is skipped is made, and dropped before it leaves TensorFlow."""
        if keras.backend.backend() != "tensorflow":
            return super().begin(number, skip)
        dataset = self.batches._get_iterator()
        return iter(dataset.skip(skip) if skip else dataset)

    def replay_passes(self, count: int) -> None:
        """Make as many iterators as there were, which costs little."""
        for _ in range(count):
            iter(self.batches._get_iterator() if keras.backend.backend() == "tensorflow" else self.adapter._dataset)


class Generator(TensorFlowDataset):
    """A Python generator, which can only go on: what was used is drawn again."""

    def replay_passes(self, count: int) -> None:
        """There is one pass."""
