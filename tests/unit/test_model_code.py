"""Code in a model's files: what is found, what is left alone, and that no file can harm whoever looks."""

import bz2
import gzip
import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from metricgate.errors import InputError
from metricgate.release import model_code, pickles, wire
from metricgate.release.model_code import Finding


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch /tmp/harmed",)


EVIL = [pickle.dumps(Evil(), protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
SYSTEM = f"{os.system.__module__}.system"
LAMBDA = {"module": "builtins", "class_name": "__lambda__", "config": {"code": "4wE="}, "registered_name": None}
LAYER = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": LAMBDA}, "registered_name": None}
DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu"}, "registered_name": None}


def found(folder: Path, content: bytes, name: str = "weights.bin") -> list[tuple[str, str]]:
    file = folder / "model" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return [(finding.what, finding.level) for finding in model_code.find(folder / "model")]


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def keras(*layers: object) -> bytes:
    model = {"module": "keras", "class_name": "Sequential", "config": {"layers": layers}, "registered_name": "Sequential"}
    return zipped({"metadata.json": b"{}", "config.json": json.dumps(model).encode(), "model.weights.h5": b"\x89HDF\r\n\x1a\n"})


def field(number: int, content: bytes) -> bytes:
    def varint(value: int) -> Iterator[int]:
        while value > 0x7F:
            yield 0x80 | value & 0x7F
            value >>= 7
        yield value

    return bytes([*varint(number << 3 | 2), *varint(len(content))]) + content


def saved_model(*ops: str, in_function: bool = False, text: bytes = b"x") -> bytes:
    nodes = [field(1, b"node") + field(2, op.encode()) + field(5, field(1, b"a") + field(2, field(2, text))) for op in ops]
    graph = field(2, field(1, b"".join(field(3, node) for node in nodes)))
    if not in_function:
        graph = b"".join(field(1, node) for node in nodes)
    return b"\x08\x01" + field(2, field(1, b"\x1a\x00") + field(2, graph))


class TestPickle:
    @pytest.mark.parametrize("content", EVIL, ids=range(len(EVIL)))
    @pytest.mark.parametrize("name", ["weights.bin", "assets/labels", "model.keras", "checkpoint.ckpt"])
    def test_is_found_whatever_its_name_and_protocol(self, content: bytes, name: str, tmp_path: Path) -> None:
        assert (f"a pickle of {SYSTEM}", "code") in found(tmp_path, content, name)
        assert not Path("/tmp/harmed").exists()

    @pytest.mark.parametrize(
        "content",
        [gzip.compress(EVIL[4], mtime=0), bz2.compress(EVIL[0]), zipped({"archive/data.pkl": EVIL[2]})],
        ids=["gzip", "bzip2", "zip"],
    )
    def test_is_found_in_what_is_packed(self, content: bytes, tmp_path: Path) -> None:
        assert found(tmp_path, content) == [(f"a pickle of {SYSTEM}", "code")]

    def test_is_found_longer_than_what_is_read_of_it(self, tmp_path: Path) -> None:
        assert found(tmp_path, pickle.dumps([Evil(), b"x" * 1_000_000]))[0][0] == f"a pickle of {SYSTEM}"

    @pytest.mark.parametrize("name", ["scaler.pkl", "scaler.joblib", "scaler.pkl.gz", "A.PICKLE"])
    def test_is_what_it_says_it_is(self, name: str, tmp_path: Path) -> None:
        assert found(tmp_path, b"", name) == [("a pickle", "code")]

    def test_is_found_in_an_array_of_objects(self, tmp_path: Path) -> None:
        for number, array in enumerate([np.array([{}], dtype=object), np.zeros(2, dtype=[("a", "f4"), ("b", object)])]):
            content = io.BytesIO()
            np.save(content, array, allow_pickle=True)
            assert found(tmp_path / str(number), content.getvalue(), "a.npy") == [("an array of pickled objects", "code")]
            assert found(tmp_path / f"z{number}", zipped({"a.npy": content.getvalue()}), "a.npz") == [
                ("an array of pickled objects", "code")
            ]

    @pytest.mark.parametrize("name", ["a.npy", "a.npz"])
    def test_is_not_what_arrays_of_numbers_are(self, name: str, tmp_path: Path) -> None:
        content = io.BytesIO()
        array = np.zeros((3, 2), dtype=[("O", "f4"), ("b", "U3")])
        np.save(content, array) if name == "a.npy" else np.savez(content, a=array)
        assert found(tmp_path, content.getvalue(), name) == []

    @pytest.mark.parametrize("text", ["cat\ndog\nbird\n", "N.", "", ".", "I am a text.\n", "(dp0\n.", "{}", "c\n"])
    def test_is_not_what_texts_are(self, text: str, tmp_path: Path) -> None:
        assert found(tmp_path, text.encode(), "labels.txt") == []

    @given(value=st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=5))
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_of_anything_is_found(self, value: object, protocol: int) -> None:
        assert pickles.names(pickle.dumps(value, protocol=protocol)) is not None

    @given(value=st.lists(st.integers()), cut=st.integers(0, 50))
    def test_that_is_cut_off_is_found(self, value: list[int], cut: int) -> None:
        content = pickletools.optimize(pickle.dumps([*value, Evil()], protocol=4))
        assert pickles.names(content[: max(3, len(content) - cut)]) is not None


class TestKeras:
    def test_with_a_lambda_is_found(self, tmp_path: Path) -> None:
        assert found(tmp_path, keras(DENSE, LAYER), "model.keras") == [
            ("a Lambda layer", "code"),
            ("the bytecode of a Python lambda", "code"),
        ]

    def test_without_one_is_not(self, tmp_path: Path) -> None:
        assert found(tmp_path, keras(DENSE, DENSE), "model.keras") == []

    def test_with_an_object_of_another_package_is_found(self, tmp_path: Path) -> None:
        layer = {**DENSE, "module": "os.path", "registered_name": "mine>Attention"}
        call = {"module": "builtins", "class_name": "function", "config": "my_loss", "registered_name": "function"}
        assert found(tmp_path, keras(layer, call), "model.keras") == [
            ("the Python function my_loss", "code"),
            ("objects of the module os.path", "code"),
            ("the registered object mine>Attention", "note"),
        ]

    @pytest.mark.parametrize("padding", [0, (1 << 20) - 40, 3 << 20])
    def test_in_hdf5_is_found_wherever_its_configuration_lies(self, padding: int, tmp_path: Path) -> None:
        content = b"\x89HDF\r\n\x1a\n" + b"\0" * padding + json.dumps({"layers": [DENSE, LAYER]}).encode() + b"\0" * 100
        assert found(tmp_path, content, "model.h5") == [("a Lambda layer", "code"), ("the bytecode of a Python lambda", "code")]

    def test_in_hdf5_can_not_hide_behind_escapes(self, tmp_path: Path) -> None:
        content = b'\x89HDF\r\n\x1a\n{"class_name": "L\\u0061mbda"}'
        assert found(tmp_path, content, "model.h5") == [("a Lambda layer", "code")]

    def test_with_a_configuration_that_is_no_json_is_told(self, tmp_path: Path) -> None:
        for number, config in enumerate([b"{", b"[" * 200_000, b"\xff", b"null"]):
            assert found(tmp_path / str(number), zipped({"config.json": config}), "model.keras") == [
                ("a configuration that is no JSON, or too long", "unknown")
            ]


class TestSavedModel:
    @pytest.mark.parametrize("in_function", [False, True])
    @pytest.mark.parametrize(
        "op", ["PyFunc", "EagerPyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "TFRecordDatasetV2", "WholeFileReader"]
    )
    def test_with_an_operation_that_reaches_out_is_found(self, op: str, in_function: bool, tmp_path: Path) -> None:
        content = saved_model("MatMul", op, op, in_function=in_function)
        assert found(tmp_path, content, "saved_model.pb") == [(f"the operation {op}", "code")]
        text = f'node {{ name: "PyFunc" op: "{op}" }}'.encode()
        assert found(tmp_path / "text", text, "saved_model.pbtxt") == [(f"the operation {op}", "code")]

    def test_that_only_computes_is_not(self, tmp_path: Path) -> None:
        assert found(tmp_path, saved_model("MatMul", "RestoreV2", "SaveV2", "PrintV2"), "saved_model.pb") == []

    def test_that_prints_to_a_file_is_found(self, tmp_path: Path) -> None:
        content = saved_model("PrintV2", text=b"file:///etc/cron.d/x")
        assert found(tmp_path, content, "saved_model.pb") == [("an operation that writes to file:///etc/cron.d/x", "code")]

    @pytest.mark.parametrize("cut", [1, 3, 10])
    def test_that_is_cut_off_is_told(self, cut: int, tmp_path: Path) -> None:
        ((what, level),) = found(tmp_path, saved_model("MatMul", "Relu")[:-cut], "saved_model.pb")
        assert what.startswith("a SavedModel that can't be read")
        assert level == "unknown"

    def test_with_a_lambda_in_its_metadata_is_found(self, tmp_path: Path) -> None:
        assert found(tmp_path, json.dumps(LAYER).encode(), "keras_metadata.pb")[0] == ("a Lambda layer", "code")


class TestOnnx:
    def model(self, domain: str = "", location: str = "weights.data", **more: Any) -> bytes:
        weights = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, data_location=onnx.TensorProto.EXTERNAL)
        weights.external_data.add(key="offset", value="0")
        weights.external_data.add(key="location", value=location)
        branch = helper.make_graph([], "branch", [], [], initializer=[weights])
        node = helper.make_node("If", ["x"], ["y"], domain=domain, then_branch=branch)
        graph = helper.make_graph([node], "graph", [], [])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, 1)], **more)
        return bytes(model.SerializeToString())

    def test_of_known_operations_is_left_alone(self, tmp_path: Path) -> None:
        assert found(tmp_path, self.model(), "model.onnx") == []

    def test_that_needs_a_library_is_noted(self, tmp_path: Path) -> None:
        assert found(tmp_path, self.model("ai.onnx.contrib"), "model.onnx") == [("operations of ai.onnx.contrib", "note")]

    def test_that_brings_its_own_functions_is_left_alone(self, tmp_path: Path) -> None:
        own = helper.make_function("mine", "f", ["x"], ["y"], [], [helper.make_opsetid("", 1)])
        assert found(tmp_path, self.model("mine", functions=[own]), "model.onnx") == []

    @pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
    def test_whose_weights_lie_elsewhere_is_found(self, location: str, tmp_path: Path) -> None:
        assert found(tmp_path, self.model(location=location), "model.onnx") == [(f"weights in {location}", "code")]


class TestFile:
    @pytest.mark.parametrize("name", ["model.py", "ops.so", "run.sh", "__pycache__/x.cpython-311.pyc"])
    def test_that_is_a_program_is_found(self, name: str, tmp_path: Path) -> None:
        assert found(tmp_path, b"", name) == [("a program or library", "code")]

    def test_that_hides_a_program_is_found(self, tmp_path: Path) -> None:
        assert found(tmp_path, b"\x7fELF\x02", "assets/vocabulary.txt") == [("a program or library", "code")]

    def test_of_a_model_that_is_one_file_has_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "model.keras").write_bytes(keras(LAYER))
        assert {finding.file for finding in model_code.find(tmp_path / "model.keras")} == {"model.keras: config.json"}

    def test_in_an_archive_is_only_looked_at(self, tmp_path: Path) -> None:
        content = zipped({"../../harm.py": b"", "/harm.py": b"", "assets/": b""})
        assert found(tmp_path, content, "model.keras") == [("a program or library", "code")] * 2
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["model", "model.keras"]

    def test_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="there is no model"):
            model_code.find(tmp_path / "model")

    def test_that_leads_out_of_the_model_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights").symlink_to("/etc/passwd")
        with pytest.raises(InputError, match="leads out of the folder"):
            model_code.find(tmp_path / "model")

    def test_one_of_very_many_says_what_there_is_and_no_more(self, tmp_path: Path) -> None:
        assert len(found(tmp_path, zipped({f"{number}.py": b"" for number in range(150)}), "m.zip")) == 100


class TestHostileFile:
    def test_that_unpacks_to_gigabytes_costs_no_memory(self, tmp_path: Path) -> None:
        file = tmp_path / "model.keras"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("config.json", "w") as member:
            for _ in range(128):
                member.write(b" " * (1 << 20))
        assert [finding.what for finding in model_code.find(file)] == ["a configuration that is no JSON, or too long"]

    @pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_that_is_packed_as_no_model_is_told(self, compression: int, tmp_path: Path) -> None:
        assert found(tmp_path, zipped({"config.json": b"{}"}, compression), "model.keras") == [
            ("a file packed as no model's is", "unknown")
        ]

    def test_that_claims_a_long_table_of_contents_is_told(self, tmp_path: Path) -> None:
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 20_000_000, 0, 0)
        (tmp_path / "m").mkdir()
        file = tmp_path / "m" / "model.keras"
        with file.open("wb") as stream:
            stream.write(b"PK\x03\x04")
            stream.truncate(20_000_000)
            stream.seek(0, 2)
            stream.write(end)
        assert [(finding.what, finding.level) for finding in model_code.find(file)] == [
            ("an archive that can't be read (its table of contents is too long)", "unknown")
        ]

    def test_that_nests_messages_without_end_is_told(self, tmp_path: Path) -> None:
        content = b""
        for _ in range(200):
            content = field(7, field(1, field(5, field(6, content)))) if not content else field(1, field(5, field(6, content)))
        ((what, level),) = found(tmp_path, field(7, content), "model.onnx")
        assert (what, level) == ("an ONNX model that can't be read (messages are nested too deeply)", "unknown")

    @given(content=st.binary(max_size=400), name=st.sampled_from(["m.keras", "m.h5", "saved_model.pb", "m.onnx", "a.npy", "x"]))
    def test_of_any_bytes_is_looked_through(self, content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
        file = tmp_path_factory.mktemp("model") / name
        file.write_bytes(content)
        assert all(isinstance(finding, Finding) for finding in model_code.find(file))

    @given(data=st.data())
    def test_of_a_good_one_with_any_bytes_changed_is_looked_through(
        self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        array = io.BytesIO()
        np.save(array, np.zeros(2))
        name, good = data.draw(
            st.sampled_from(
                [
                    ("model.keras", keras(DENSE)),
                    ("saved_model.pb", saved_model("MatMul", "PyFunc")),
                    ("model.onnx", TestOnnx().model()),
                    ("a.npy", array.getvalue()),
                    ("a.pt", zipped({"archive/data.pkl": EVIL[2]}, zipfile.ZIP_STORED)),
                    *(("a.bin", content) for content in EVIL),
                ]
            )
        )
        content = bytearray(good)
        changes = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
        for at, byte in data.draw(st.lists(changes, min_size=1, max_size=8)):
            content[at] = byte
        file = tmp_path_factory.mktemp("model") / name
        file.write_bytes(content)
        assert all(isinstance(finding, Finding) for finding in model_code.find(file))

    @given(content=st.binary(max_size=200))
    def test_of_any_bytes_is_walked_to_an_end(self, content: bytes) -> None:
        shape: dict[int, wire.Shape | str] = {1: "leaf"}
        shape.update({2: shape, 3: shape})
        try:
            leaves = list(wire.leaves(io.BytesIO(content), shape))
        except wire.WireError:
            return
        assert len(leaves) <= len(content)
