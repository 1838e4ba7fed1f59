"""Code that a model's files hold, found before they are shipped, and without loading anything.

Loading a pickle or a Lambda layer runs what is in it. What is looked at are the files themselves: their first bytes, the names
of operations in SavedModels and ONNX models, the configuration of Keras models. A file that can't be looked through is told
too. This is a warning and no proof: the model server refuses Lambda layers and loads no pickle, whatever is found here.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from metricgate.errors import InputError
from metricgate.release import pickles, wire
from metricgate.release.wire import WireError
from metricgate.train import digest

Level = Literal["code", "unknown", "note"]

MOST_FINDINGS = 100

_PICKLED = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle")
_PROGRAMS = (".py", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".sh")
_NATIVE = (b"\x7fELF", b"MZ\x90\x00", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"

# What the reader of archives raises for one that somebody broke on purpose.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
)
_MOST_MEMBERS = 10_000
_MOST_AT_ONCE = 1 << 24
_MOST_CONFIG = 64_000_000
_CHUNK = 1 << 20
_OVERLAP = 1 << 12

_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_FILE_OPS = re.compile(
    r"(Read|Write)File|MatchingFiles|WholeFileReader(V2)?|(TextLine|TFRecord|FixedLengthRecord)(Reader|Dataset)(V2)?"
    r"|(Save|Load|Snapshot|MatchingFiles|Sql)Dataset(V2)?|CreateSummary(FileWriter|DbWriter)"
)
# Where the names of operations lie: tensorflow/core/protobuf/saved_model.proto, framework/graph.proto and function.proto.
_NODE: wire.Shape = {2: "op", 5: {2: {2: "text"}}}
_GRAPH: wire.Shape = {1: _NODE, 2: {1: {3: _NODE}}}
_SAVED_MODEL: wire.Shape = {2: {2: _GRAPH}}

# Where ONNX (onnx/onnx.proto) names the sets of operations that it needs, and files beside it.
_OUTSIDE: wire.Shape = {13: {1: "key", 2: "value"}}
_ONNX_GRAPH: dict[int, wire.Shape | str] = {5: _OUTSIDE, 15: {1: _OUTSIDE, 2: _OUTSIDE}}
_ONNX_NODE: wire.Shape = {5: {5: _OUTSIDE, 6: _ONNX_GRAPH, 10: _OUTSIDE, 11: _ONNX_GRAPH}}
_ONNX_GRAPH[1] = _ONNX_NODE
_ONNX: wire.Shape = {7: _ONNX_GRAPH, 8: {1: "needs"}, 25: {7: _ONNX_NODE, 10: "brings"}}
_ONNX_KNOWN = (
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.ms.internal.nhwc",
)

_KERAS_PAIR = re.compile(rb'"(class_name|module|registered_name)"\s*:\s*("(?:[^"\\]|\\.){1,300}")')
_KERAS_MODULES = ("keras", "tf_keras", "tensorflow", "builtins")
_TEXT_OP = re.compile(rb'\bop:\s*("(?:[^"\\]|\\.){1,100}")')


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something in a model's files.

    Attributes:
        file: Where, relative to the model; what is in an archive stands behind a colon.
        what: What was found.
        why: Why that matters.
        level: ``code`` runs, or reads and writes files, when the model is loaded or asked; ``unknown`` can't be looked through;
            ``note`` needs something that the file does not bring.
    """

    file: str
    what: str
    why: str
    level: Level = "code"


def find(model: Path) -> tuple[Finding, ...]:
    """Look through a model.

    Args:
        model: A file or a folder.

    Returns:
        What was found, in the order of the files; at most 100.

    Raises:
        InputError: There is no model, or it leads out of its folder, or can't be read.
    """
    if not model.exists():
        raise InputError("there is no model", where=str(model), expected="a file or a folder")
    files = {model.name: model} if model.is_file() else digest.files_in(model)
    found: dict[Finding, None] = {}
    for name, file in sorted(files.items()):
        for finding in _in_opened(name, file):
            found[finding] = None
            if len(found) == MOST_FINDINGS:
                return tuple(found)
    return tuple(found)


class _Bounded(io.BufferedReader):
    """A file of which nobody reads much at once, whatever lengths it claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_AT_ONCE:
            raise zipfile.BadZipFile("its table of contents is too long")
        return super().read(_MOST_AT_ONCE if size is None or size < 0 else size)


def _in_opened(name: str, file: Path) -> Iterator[Finding]:
    try:
        with _Bounded(file.open("rb", buffering=0)) as stream:
            yield from _in_file(name, stream)
    except OSError as error:
        raise InputError(f"can't be read: {error}", where=str(file), expected="a readable file") from None


def _in_file(name: str, stream: BinaryIO) -> Iterator[Finding]:
    head = stream.read(pickles.HEAD)
    path = PurePosixPath(name)
    yield from _in_head(name, head)
    if head.startswith(_HDF5) or path.name == "keras_metadata.pb":
        yield from _in_keras_text(name, stream)
    elif path.name == "saved_model.pbtxt":
        for op in sorted(set(_matches(stream, _TEXT_OP))):
            yield from _of_op(name, _decoded(op[0]))
    elif path.name == "saved_model.cpb":
        yield Finding(name, "a SavedModel in chunks", "can't be looked through; save it as one saved_model.pb", "unknown")
    elif path.suffix == ".pb":
        yield from _in_graph(name, stream, is_saved_model=path.name == "saved_model.pb")
    elif path.suffix == ".onnx":
        yield from _in_onnx(name, stream)
    if path.suffix != ".onnx":
        yield from _in_zip(name, stream, claims=head.startswith(_ZIP) or path.suffix in (".zip", ".npz"))


def _in_head(name: str, head: bytes) -> Iterator[Finding]:
    """What the name and the first bytes of a file tell."""
    path = PurePosixPath(name)
    suffixes = {suffix.lower() for suffix in path.suffixes}
    imported = pickles.names(head)
    if imported is None:
        imported = pickles.names(pickles.unpacked(head))
    if imported is not None or suffixes & set(_PICKLED):
        names = f" of {', '.join(imported)}" if imported else ""
        yield Finding(name, f"a pickle{names}", "loading it runs the code in it")
    if pickles.in_array(head):
        yield Finding(name, "an array of pickled objects", "loading it runs the code in it")
    if path.suffix.lower() in _PROGRAMS or head.startswith(_NATIVE):
        yield Finding(name, "a program or library", "it runs where something imports, loads or starts it")


def _in_zip(name: str, stream: BinaryIO, *, claims: bool) -> Iterator[Finding]:
    try:
        if not zipfile.is_zipfile(stream):
            if claims:
                yield Finding(name, "an archive that is cut off", "can't be looked through", "unknown")
            return
        with zipfile.ZipFile(stream) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > _MOST_MEMBERS:
                yield Finding(name, f"an archive of {len(members):,} files", "too many to be looked through", "unknown")
            for member in members[:_MOST_MEMBERS]:
                yield from _in_member(name, archive, member)
    except (
        *(
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            EOFError,
            OSError,
            RuntimeError,
            ValueError,
            LookupError,
            OverflowError,
        ),
        MemoryError,
    ) as error:
        if claims:
            said = " ".join(str(error).split())[:100]
            yield Finding(name, f"an archive that can't be read ({said})", "can't be looked through", "unknown")


def _in_member(name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[Finding]:
    label = f"{name}: {member.filename[:200]}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield Finding(label, "a file packed as no model's is", "can't be looked through", "unknown")
        return
    with archive.open(member) as content:
        head = content.read(pickles.HEAD)
        yield from _in_head(label, head)
        if head.startswith((_ZIP, _HDF5)) and not member.filename.endswith(".weights.h5"):
            yield Finding(label, "a model or an archive in an archive", "can't be looked through", "unknown")
        if PurePosixPath(member.filename).name == "config.json":
            config = head + content.read(_MOST_CONFIG)
            yield from _in_keras_config(label, config)


def _in_keras_config(label: str, content: bytes) -> Iterator[Finding]:
    """``config.json`` of a ``.keras`` file (keras/src/saving/serialization_lib.py)."""
    try:
        waiting: list[Any] = [json.loads(content) if len(content) < _MOST_CONFIG else None]
    except (ValueError, RecursionError):
        waiting = [None]
    if waiting == [None]:
        yield Finding(label, "a configuration that is no JSON, or too long", "can't be looked through", "unknown")
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from _in_keras_object(label, item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _in_keras_object(label: str, item: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("class_name", "module", "registered_name"):
        if isinstance(item.get(key), str):
            yield from _of_keras(label, key, item[key])
    if item.get("class_name") == "function" and isinstance(item.get("config"), str):
        yield Finding(label, f"the Python function {item['config'][:100]}", "Keras looks it up by its name and calls it")


def _in_keras_text(name: str, stream: BinaryIO) -> Iterator[Finding]:
    # An attribute of an HDF5 file is never compressed, and its text lies in one piece.
    for key, value in sorted(set(_matches(stream, _KERAS_PAIR))):
        yield from _of_keras(name, key.decode(), _decoded(value))


def _of_keras(label: str, key: str, value: str) -> Iterator[Finding]:
    if key == "class_name" and value == "__lambda__":
        yield Finding(label, "the bytecode of a Python lambda", "loading it runs the code in it")
    elif key == "class_name" and value == "Lambda":
        yield Finding(label, "a Lambda layer", "loading it runs the code in it; write it as a layer of Keras's, or of your own")
    elif key == "module" and value.partition(".")[0] not in _KERAS_MODULES:
        yield Finding(
            label, f"objects of the module {value[:100]}", "loading it imports that module, which the image has to have"
        )
    elif key == "registered_name" and ">" in value:
        yield Finding(label, f"the registered object {value[:100]}", "the image does not have its code", "note")


def _in_graph(name: str, stream: BinaryIO, *, is_saved_model: bool) -> Iterator[Finding]:
    found: set[str] = set()
    try:
        for leaf in wire.leaves(stream, _SAVED_MODEL if is_saved_model else _GRAPH):
            text = leaf.text.decode("utf-8", "replace")
            if leaf.name == "op" and text not in found:
                found.add(text)
                yield from _of_op(name, text)
            elif leaf.name == "text" and text.startswith("file://"):
                yield Finding(name, f"an operation that writes to {text[:100]}", "asking the model writes to files")
    except WireError as error:
        if is_saved_model:
            yield Finding(name, f"a SavedModel that can't be read ({error})", "can't be looked through", "unknown")


def _of_op(name: str, op: str) -> Iterator[Finding]:
    if op in _PYTHON_OPS:
        yield Finding(
            name, f"the operation {op}", "it calls Python code that is not in the file, and that the image does not have"
        )
    elif _FILE_OPS.fullmatch(op):
        yield Finding(name, f"the operation {op}", "asking the model reads or writes files where it is served")


def _in_onnx(name: str, stream: BinaryIO) -> Iterator[Finding]:
    needs: set[str] = set()
    brings: set[str] = set()
    keys: dict[tuple[int, ...], str] = {}
    try:
        for leaf in wire.leaves(stream, _ONNX):
            text = leaf.text.decode("utf-8", "replace")
            if leaf.name in ("needs", "brings"):
                (needs if leaf.name == "needs" else brings).add(text)
            elif leaf.name == "key":
                keys = {leaf.path: text}
            elif keys.get(leaf.path) == "location" and _leads_out(text):
                yield Finding(name, f"weights in {text[:100]}", "loading it reads a file that is not the model's")
    except WireError as error:
        yield Finding(name, f"an ONNX model that can't be read ({error})", "can't be looked through", "unknown")
    for domain in sorted(needs - brings - set(_ONNX_KNOWN)):
        yield Finding(name, f"operations of {domain[:100]}", "they need a library that the image does not have", "note")


def _leads_out(location: str) -> bool:
    path = PurePosixPath(location.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts


def _matches(stream: BinaryIO, pattern: re.Pattern[bytes]) -> Iterator[tuple[bytes, ...]]:
    """The groups of every match in a file of any size."""
    stream.seek(0)
    before = b""
    while chunk := stream.read(_CHUNK):
        text = before + chunk
        for match in pattern.finditer(text):
            yield match.groups()
        before = text[-_OVERLAP:]


def _decoded(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted.decode("utf-8", "replace").strip('"')
