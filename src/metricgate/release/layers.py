"""The layers of an image, each the same bytes wherever the same content is built.

The model is a layer of its own: an uncompressed tar, since weights don't compress, with the files under ``model/``. The other
layers come from the engine that built them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from metricgate.errors import InputError, StageError
from metricgate.release import compression, oci, saved, tarball
from metricgate.release.oci import Descriptor
from metricgate.release.saved import Saved
from metricgate.train import digest

ROOT = "model"
MODEL_CREATED_BY = "metricgate publish: the model"
_CHUNK = 1 << 20
_GZIPPED = "gzip"  # both OCI's and Docker's media type end so
_SMALL = 1 << 15  # hashed sooner than handed to another thread


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        descriptor: The blob, as a registry keeps it.
        diff_id: The digest of its uncompressed tar.
        created_by: What made it, for the image's history.
        source: The blob's bytes, again and again.
        tar: Its uncompressed tar, again and again.
        tar_size: The bytes of that.
        files: The SHA-256 in hex of every file in it, where they are known: those of a model, by the name in the model.
    """

    descriptor: Descriptor
    diff_id: str
    created_by: str
    source: Callable[[], Iterable[bytes]]
    tar: Callable[[], Iterable[bytes]]
    tar_size: int
    files: Mapping[str, str] = field(default_factory=dict)


def of_model(model: Path, *, name: str = "") -> tuple[Layer, str]:
    """The layer of a model, and the model's digest, by reading it once.

    Args:
        model: A file or a folder. A symbolic link counts as what it leads to.
        name: What a model that is one file is called in the image; by default as it is called here.

    Raises:
        InputError: There is nothing, nothing in it, or something in it leads out of it.
    """
    files = {name or model.name: model} if model.is_file() else digest.files_in(model)
    total, size, hashes = _hashed(_pieces(files))
    layer = Layer(
        descriptor=Descriptor(media_type=oci.LAYER, digest=total, size=size),
        diff_id=total,
        created_by=MODEL_CREATED_BY,
        source=partial(_copied, files),
        tar=partial(_copied, files),
        tar_size=size,
        files=hashes,
    )
    if model.is_file():
        return layer, digest.PREFIX + next(iter(hashes.values()))
    # As in train/digest.py.
    lines = (f"{hashes[name]}  ./".encode() + os.fsencode(name) + b"\0" for name in sorted(hashes, key=os.fsencode))
    return layer, oci.digest_of(b"".join(lines))


def normalised(
    archive: Path,
    workspace: Path,
    known: Mapping[str, Descriptor],
    *,
    base: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[tuple[Layer, ...], Mapping[str, Any]]:
    """The layers of the image that an engine saved, without what depends on when and where it was built; and its config.

    Args:
        archive: What ``docker save`` wrote. The layers are read from it for as long as they are used.
        workspace: A folder for the compressed layers.
        known: The layers that are in the registry, by diffID: these are not compressed again.
        base: The diffIDs of the base image, whose layers stay as they are.
        progress: Is told what is done.

    Raises:
        InputError: It is no such file.
        StageError: The disk is full.
    """
    image = saved.images(archive)[0]
    return of_saved(image, workspace, known, base=base, progress=progress), image.config


def of_saved(
    image: Saved,
    workspace: Path,
    known: Mapping[str, Descriptor],
    *,
    base: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Layer, ...]:
    """The layers of one of the images in a file; see :func:`normalised`."""
    below = len(base) if image.diff_ids[: len(base)] == tuple(base) else 0
    sources: set[str] = set()
    layers = []
    for index, created_by in enumerate(image.created_by):
        tar: Callable[[], Iterable[bytes]] = partial(image.tar, index)
        if index >= below:
            with image.layer(index) as stream:
                sources.update(tarball.sources(stream))
            tar = partial(_rewritten, image, index, frozenset(sources))
        progress(f"layer {index + 1} of {len(image.members)}")
        layers.append(_of_tar(tar, created_by, workspace, known))
    return tuple(layers)


def _of_tar(tar: Callable[[], Iterable[bytes]], created_by: str, workspace: Path, known: Mapping[str, Descriptor]) -> Layer:
    diff_id, tar_size = _measured(tar())
    there = known.get(diff_id)
    source: Callable[[], Iterable[bytes]]
    if there and there.media_type.endswith(_GZIPPED):
        descriptor = Descriptor(media_type=oci.LAYER_GZIP, digest=there.digest, size=there.size)
        source = partial(_packed, tar)  # as it is sent, should the registry have lost it
    else:
        file = workspace / f"{diff_id.removeprefix(digest.PREFIX)}.tar.gz"
        descriptor = _compressed(tar(), file)
        source = partial(_read, file)
    return Layer(descriptor, diff_id, created_by, source=source, tar=tar, tar_size=tar_size)


def _packed(tar: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
    return compression.gzipped(tar())


def _rewritten(image: Saved, index: int, sources: Collection[str]) -> Iterator[bytes]:
    with image.layer(index) as stream:
        yield from tarball.normalised(stream, sources=sources)


def _measured(chunks: Iterable[bytes]) -> tuple[str, int]:
    total, size = hashlib.sha256(), 0
    for chunk in chunks:
        total.update(chunk)
        size += len(chunk)
    return digest.PREFIX + total.hexdigest(), size


def _compressed(tar: Iterable[bytes], file: Path) -> Descriptor:
    try:
        with file.open("wb") as target:
            total, size = _measured(_written(compression.gzipped(tar), target.write))
    except OSError as error:
        raise StageError(
            f"a layer can't be compressed: {error.strerror}",
            where=str(file),
            expected="room for the compressed image",
            fix="free the disk, or let TMPDIR name a folder on a larger one",
        ) from None
    return Descriptor(media_type=oci.LAYER_GZIP, digest=total, size=size)


def _written(chunks: Iterable[bytes], write: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        write(chunk)
        yield chunk


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _copied(files: Mapping[str, Path]) -> Iterator[bytes]:
    for _, piece in _pieces(files):
        yield bytes(piece)


def _hashed(pieces: Iterable[tuple[str, memoryview]]) -> tuple[str, int, dict[str, str]]:
    """The digest of everything, its size, and the hash of every file; while two are hashed, the next piece is read."""
    total, size = hashlib.sha256(), 0
    files: dict[str, hashlib._Hash] = {}
    running: list[Future[None]] = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, piece in pieces:
            wait(running)
            size += len(piece)
            file = files.setdefault(name, hashlib.sha256()) if name else None
            if len(piece) <= _SMALL:
                running = []
                total.update(piece)
                if file:
                    file.update(piece)
            else:
                running = [pool.submit(each.update, piece) for each in (total, file) if each]
        wait(running)
    return digest.PREFIX + total.hexdigest(), size, {name: file.hexdigest() for name, file in files.items()}


def _pieces(files: Mapping[str, Path]) -> Iterator[tuple[str, memoryview]]:
    """The tar of a model: pieces of its files with their name, and what lies between them without one.

    A piece may be overwritten when the next but one is asked for.
    """
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    entries: dict[str, Path | None] = {**dict.fromkeys(folders), **files}
    buffers = bytearray(_CHUNK), bytearray(_CHUNK)
    for name in sorted(entries, key=lambda name: b"" if name == "." else os.fsencode(name)):
        file = entries[name]
        inside = ROOT if name == "." else f"{ROOT}/{name}"
        if file is None:
            yield "", memoryview(tarball.header(inside))
        else:
            yield from _file(inside, name, file, buffers)
    yield "", memoryview(tarball.END)


def _file(inside: str, name: str, file: Path, buffers: tuple[bytearray, bytearray]) -> Iterator[tuple[str, memoryview]]:
    done = turn = 0
    try:
        with file.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            yield "", memoryview(tarball.header(inside, size=size))
            yield name, memoryview(b"")  # an empty file has a hash too
            while done < size and (read := stream.readinto(memoryview(buffers[turn])[: size - done])):
                yield name, memoryview(buffers[turn])[:read]
                done, turn = done + read, 1 - turn
            if done < size or stream.read(1):
                raise InputError("the file changed while it was read", where=str(file), fix="run the command again")
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(file), expected="a readable file") from None
    yield "", memoryview(tarball.padding(size))
