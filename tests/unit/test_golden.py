"""Golden requests: what an evaluation may write into ``golden.jsonl``, and how a mistake in it is told."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import golden, tensors
from metricgate.errors import ExitCode, InputError
from metricgate.tensors import Tensor

V1 = {"request": {"instances": [[0.5, 1.5]]}, "response": {"predictions": [[0.25]]}}
V2 = {
    "request": {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 1.5]}]},
    "response": {"outputs": [{"name": "y", "shape": [1, 1], "datatype": "FP32", "data": [0.25]}]},
}


def written(folder: Path, *lines: object) -> Path:
    file = folder / golden.FILE
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8")
    return file


def asked(request: object, response: object) -> dict[str, object]:
    return {"request": request, "response": response}


def v2(**changes: object) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0], **changes}]}


class TestExchange:
    def test_in_either_protocol_says_what_is_asked_and_what_has_to_be_answered(self, tmp_path: Path) -> None:
        first, second = golden.read(written(tmp_path, V1, V2))
        assert (first.line, first.protocol, second.line, second.protocol) == (1, "v1", 2, "v2")
        assert first.inputs == (Tensor("", "", (1, 2), (0.5, 1.5)),)
        assert first.outputs == (Tensor("", "", (1, 1), (0.25,)),)
        assert second.inputs == (Tensor("x", "FP32", (1, 2), (0.5, 1.5)),)
        assert second.outputs == (Tensor("y", "FP32", (1, 1), (0.25,)),)
        assert first.request == V1["request"]

    def test_counts_lines_that_are_blank(self, tmp_path: Path) -> None:
        assert [exchange.line for exchange in golden.read(written(tmp_path, "", V1, "  ", V2))] == [2, 4]

    def test_with_several_inputs_names_them_by_row(self, tmp_path: Path) -> None:
        rows = {"instances": [{"a": 1, "b": [0.5]}, {"b": [1.5], "a": 2}]}
        (exchange,) = golden.read(written(tmp_path, asked(rows, {"predictions": [{"y": True}, {"y": False}]})))
        assert exchange.inputs == (Tensor("a", "", (2,), (1, 2)), Tensor("b", "", (2, 1), (0.5, 1.5)))
        assert exchange.outputs == (Tensor("y", "", (2,), (True, False)),)

    def test_by_column_is_v1_too(self, tmp_path: Path) -> None:
        columns = {"inputs": {"a": [1, 2], "b": "text"}, "signature_name": "serve"}
        exchange, unnamed = golden.read(
            written(tmp_path, asked(columns, {"outputs": {"y": [0.5]}}), asked({"inputs": [[1.0]]}, {"outputs": [1]}))
        )
        assert (exchange.protocol, unnamed.protocol) == ("v1", "v1")
        assert exchange.inputs == (Tensor("a", "", (2,), (1, 2)), Tensor("b", "", (), ("text",)))
        assert unnamed.inputs == (Tensor("", "", (1, 1), (1.0,)),)

    def test_may_be_the_whole_answer_of_a_server(self, tmp_path: Path) -> None:
        response = {"model_name": "m", "model_version": "1", "id": "7", "parameters": {"a": 1}, **V2["response"]}
        (exchange,) = golden.read(written(tmp_path, asked({"id": "7", "outputs": [{"name": "y"}], **V2["request"]}, response)))
        assert exchange.outputs[0].values == (0.25,)

    def test_takes_nested_data_in_v2(self, tmp_path: Path) -> None:
        (exchange,) = golden.read(written(tmp_path, asked(v2(shape=[1, 2], data=[[1.0, 2.0]]), V2["response"])))
        assert exchange.inputs == (Tensor("x", "FP32", (1, 2), (1.0, 2.0)),)

    def test_takes_bytes_in_v1_as_that_protocol_writes_them(self, tmp_path: Path) -> None:
        (exchange,) = golden.read(written(tmp_path, asked({"instances": [{"b64": "aGk="}]}, {"predictions": ["hi"]})))
        assert exchange.inputs == (Tensor("", "", (1,), (b"hi",)),)
        assert tensors.rows(exchange.inputs) == {"instances": [{"b64": "aGk="}]}


class TestMistake:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("{", "not valid JSON"),
            ("[]", "input should be a valid dictionary"),
            ("NaN", "input should be a valid dictionary"),
            ('{"request": {}}', "`response`: field required"),
            ('{"request": {"instances": [1]}, "request": {}}', "the key 'request' stands there twice"),
            ("[" * 100_000, "the line is nested too deeply"),
            ({**V1, "expected": 1}, "`expected`: extra inputs are not permitted"),
            (asked({}, V1["response"]), "`request`: there is neither `instances` nor `inputs`"),
            (asked({"instances": [1], "inputs": [1]}, V1["response"]), "there are both `instances` and `inputs`"),
            (asked({"instances": []}, V1["response"]), "`request.instances`: a list of 0"),
            (asked({"instances": [[1, 2], [3]]}, V1["response"]), "`request.instances.1`: it has another shape"),
            (asked({"instances": [1, "a"]}, V1["response"]), "holds int and text values"),
            (asked({"instances": [1, None]}, V1["response"]), "`request.instances.1`: null"),
            (asked({"instances": [{"a": 1}, {"b": 1}]}, V1["response"]), "`request.instances.1`: an object with the keys 'b'"),
            (asked({"instances": [{"b64": "?"}]}, V1["response"]), "is not Base64"),
            (asked({"instances": [[1.0], [2.0]]}, V1["response"]), "1 predictions for 2 instances"),
            (asked({"instances": [1]}, {"predictions": [[]]}), "is empty, which any image gets right"),
            (asked({"instances": [1]}, {"error": "no"}), "`response.error`: extra inputs"),
            ('{"request": {"instances": [[1.0]]}, "response": {"predictions": [[NaN]]}}', "`response.predictions.0.0`: nan"),
            ('{"request": {"instances": [[1e999]]}, "response": {"predictions": [1]}}', "`request.instances.0.0`: inf"),
            (f'{{"request": {{"instances": [1{"0" * 400}]}}, "response": {{}}}}', "a number too large"),
            (asked(v2(shape=[3]), V2["response"]), "`request.inputs.0.data`: 'x' has 2 values, 2, and the shape [3]"),
            (asked(v2(shape=[2, 1], data=[[1.0, 2.0]]), V2["response"]), "'x' has 2 values, 1×2, and the shape [2, 1]"),
            (asked(v2(shape=[-1]), V2["response"]), "`request.inputs.0.shape.0`: input should be greater than or equal to 0"),
            (asked(v2(datatype="float32"), V2["response"]), "`request.inputs.0.datatype`: input should be 'BOOL'"),
            (asked(v2(datatype="INT64"), V2["response"]), "1.0 among values of the datatype INT64"),
            (asked(v2(datatype="BOOL"), V2["response"]), "1.0 among values of the datatype BOOL"),
            (asked(v2(data=[True, 1.0]), V2["response"]), "True among values of the datatype FP32"),
            (asked(v2(name=""), V2["response"]), "`request.inputs.0.name`: string should have at least 1 character"),
            (asked({"inputs": v2()["inputs"] * 2}, V2["response"]), "the name 'x' stands there twice"),
            (asked(v2(), V1["response"]), "`response.outputs`: field required"),
        ],
    )
    def test_is_told_with_file_line_and_place(self, line: object, said: str, tmp_path: Path) -> None:
        file = written(tmp_path, V1, line)
        with pytest.raises(InputError) as raised:
            golden.read(file)
        assert said in str(raised.value)
        assert raised.value.where == f"{file}:2"
        assert raised.value.exit_code == ExitCode.USAGE

    def test_that_the_file_is_empty_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no exchange"):
            golden.read(written(tmp_path, ""))

    def test_more_exchanges_than_are_asked_are_refused(self, tmp_path: Path) -> None:
        assert len(golden.read(written(tmp_path, *[V1] * 1_000))) == 1_000
        with pytest.raises(InputError, match=r"golden.jsonl:1001: there are more exchanges"):
            golden.read(written(tmp_path, *[V1] * 1_001))

    def test_a_file_beyond_eight_megabytes_is_refused_unread(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="8,000,001 bytes"):
            golden.read(written(tmp_path, " " * 8_000_000))

    def test_what_is_no_utf_8_is_told(self, tmp_path: Path) -> None:
        (tmp_path / golden.FILE).write_bytes(b'{"request": "\xff"}')
        with pytest.raises(InputError, match="byte 14 of the line is not UTF-8"):
            golden.read(tmp_path / golden.FILE)

    @given(content=st.binary(max_size=200) | st.text(alphabet='{}[]":,01.eN"request"instances', max_size=200).map(str.encode))
    def test_whatever_the_file_holds_is_an_input_error(self, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        file = tmp_path_factory.mktemp("golden") / golden.FILE
        file.write_bytes(content)
        with pytest.raises(InputError):
            golden.read(file)


class TestAdvice:
    @pytest.mark.parametrize("lines", [golden.FOR_KERAS, golden.FOR_ANYTHING])
    def test_that_there_are_none_shows_lines_that_write_them(
        self, lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        numpy = pytest.importorskip("numpy")

        class Model:
            def predict(self, batch: Any, *, verbose: int) -> Any:
                assert verbose == 0
                return batch.sum(axis=1, keepdims=True)

        monkeypatch.setenv("METRICGATE_RUN_DIR", str(tmp_path))
        exec(
            lines,
            {
                "model": Model(),
                "x_test": numpy.ones((30, 4), dtype=numpy.float32),
                "batches": [[[1.0, 2.0]]],
                "predict": lambda rows: [[sum(row)] for row in rows],
            },
        )
        exchanges = golden.read(Path(os.environ["METRICGATE_RUN_DIR"], golden.FILE))
        assert len(exchanges) in (1, 20)
        assert lines in str(golden.missing("seed-0")).replace("\n    ", "\n")
        assert len(lines.splitlines()) == 5


shapes = st.lists(st.integers(1, 3), max_size=4).map(tuple)


@st.composite
def some_tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(shapes)
    datatypes: list[tuple[str, st.SearchStrategy[Any]]] = [
        ("FP32", st.floats(allow_nan=False, allow_infinity=False, width=32)),
        ("INT64", st.integers(-(2**63), 2**63 - 1)),
        ("BOOL", st.booleans()),
        ("BYTES", st.text()),
    ]
    datatype, value = draw(st.sampled_from(datatypes))
    count = 1
    for size in shape:
        count *= size
    name = draw(st.text(min_size=1).filter(lambda name: name != "b64"))  # which v1 keeps for itself
    return Tensor(name, datatype, shape, tuple(draw(st.lists(value, min_size=count, max_size=count))))


class TestTensor:
    @given(tensor=some_tensors())
    def test_comes_back_from_v2(self, tensor: Tensor) -> None:
        document = json.loads(json.dumps([tensor.document()]))
        assert tensors.of_v2(document, place="inputs") == (tensor,)

    @given(tensor=some_tensors())
    def test_comes_back_from_v1_but_for_its_datatype(self, tensor: Tensor) -> None:
        document = json.loads(json.dumps({tensor.name: tensor.nested}))
        (found,) = tensors.of_columns(document, place="inputs")
        assert (found.name, found.shape, found.values, found.kind) == (tensor.name, tensor.shape, tensor.values, tensor.kind)

    def test_goes_by_row_where_all_have_the_same_number_of_rows(self) -> None:
        a, b, c = Tensor("a", "FP32", (2, 1), (0.5, 1.5)), Tensor("b", "INT64", (2,), (1, 2)), Tensor("c", "FP32", (1,), (3.0,))
        assert tensors.rows((a,)) == {"instances": [[0.5], [1.5]]}
        assert tensors.rows((a, b)) == {"instances": [{"a": [0.5], "b": 1}, {"a": [1.5], "b": 2}]}
        assert tensors.rows((a, c)) == {"inputs": {"a": [[0.5], [1.5]], "c": [3.0]}}

    def test_without_a_datatype_takes_the_one_that_the_model_declares(self) -> None:
        assert Tensor("", "", (2,), (1, 2)).document(name="x", datatype="FP32") == {
            "name": "x",
            "datatype": "FP32",
            "shape": [2],
            "data": [1.0, 2.0],
        }

    def test_of_bytes_that_are_no_text_does_not_go_into_v2(self) -> None:
        with pytest.raises(tensors.MalformedError, match="bytes that are no text"):
            Tensor("x", "", (1,), (b"\xff",)).document()
