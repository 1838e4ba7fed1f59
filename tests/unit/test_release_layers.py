"""Layers: the same bytes for the same content, wherever and whenever it was built."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import itertools
import os
import struct
import tarfile
import tempfile
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import image_files
from tests.image_files import Entry, Form

from metricgate.errors import InputError
from metricgate.release import compression, layers, oci, saved, tarball
from metricgate.release.layers import Layer
from metricgate.train import digest

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) <= 200
)
CONTENTS = st.binary(max_size=2000)


def blob(layer: Layer) -> bytes:
    return b"".join(layer.source())


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def members(content: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content), encoding="utf-8", errors="surrogateescape") as archive:
        return archive.getmembers()


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


class TestOfAModel:
    def test_the_layer_is_these_very_bytes_on_every_machine(self, tmp_path: Path) -> None:
        model = write(tmp_path / "m", {"saved_model.pb": b"graph", "variables/weights": b"\1" * 1000, "ü" * 80: b""})
        layer, _ = layers.of_model(model)
        assert layer.descriptor.digest == "sha256:1cdc005be00115fe3f77c0b7cb04b9be98cb115a2abe0b7784fc5c028f4b5826"

    @settings(max_examples=60)
    @given(st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), CONTENTS, min_size=1, max_size=6))
    def test_its_digests_are_those_of_its_bytes_and_of_the_model(self, files: dict[str, bytes]) -> None:
        # A file can't be a folder too.
        taken = {name: content for name, content in files.items() if not any(other.startswith(f"{name}/") for other in files)}
        with tempfile.TemporaryDirectory() as folder:
            model = write(Path(folder), taken)
            layer, model_digest = layers.of_model(model)
            content = blob(layer)
            assert model_digest == digest.of_path(model)
        assert layer.descriptor == oci.Descriptor(media_type=oci.LAYER, digest=sha256(content), size=len(content))
        assert layer.diff_id == layer.descriptor.digest
        assert layer.files == {name: hashlib.sha256(content).hexdigest() for name, content in taken.items()}
        found = {member.name: member for member in members(content)}
        assert {name for name, member in found.items() if member.isreg()} == {f"model/{name}" for name in taken}
        assert list(found) == sorted(found, key=os.fsencode)
        assert {(member.mode, member.uid, member.gid, member.mtime, member.uname) for member in found.values()} <= {
            (0o644, 0, 0, 0, ""),
            (0o755, 0, 0, 0, ""),
        }
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for name, expected in taken.items():
                stream = archive.extractfile(f"model/{name}")
                assert stream is not None
                assert stream.read() == expected

    def test_files_larger_than_what_is_read_at_once_are_whole(self, tmp_path: Path) -> None:
        content = os.urandom(5_000_001)
        model = write(tmp_path / "m", {"a": content, "b": content[:1_048_576], "c": content[:1_048_577]})
        layer, model_digest = layers.of_model(model)
        assert sha256(blob(layer)) == layer.descriptor.digest
        assert model_digest == digest.of_path(model)
        assert layer.files["a"] == hashlib.sha256(content).hexdigest()

    def test_a_model_of_any_size_needs_little_memory(self, tmp_path: Path) -> None:
        model = write(tmp_path / "m", {"small": b"1", "large": b""})
        os.truncate(model / "large", 200_000_000)
        tracemalloc.start()
        try:
            layer, _ = layers.of_model(model)
            assert sum(map(len, layer.source())) == layer.descriptor.size
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 10_000_000

    def test_times_modes_and_empty_folders_do_not_count(self, tmp_path: Path) -> None:
        one, other = (write(tmp_path / name, {"a": b"1", "b/c": b"2"}) for name in ("one", "other"))
        (other / "a").chmod(0o777)
        (other / "empty").mkdir()
        os.utime(other / "b", (1, 1))
        assert layers.of_model(one)[0].descriptor == layers.of_model(other)[0].descriptor

    def test_a_link_counts_as_what_it_leads_to(self, tmp_path: Path) -> None:
        one, other = (write(tmp_path / name, {"a": b"1", "b": b"1"}) for name in ("one", "other"))
        (other / "b").unlink()
        (other / "b").symlink_to("a")
        assert layers.of_model(one)[0].descriptor == layers.of_model(other)[0].descriptor

    def test_a_link_that_leads_out_is_refused(self, tmp_path: Path) -> None:
        model = write(tmp_path / "m", {"a": b"1"})
        (model / "b").symlink_to("/etc/passwd")
        with pytest.raises(InputError, match="leads out of the folder"):
            layers.of_model(model)

    def test_a_model_that_is_one_file_keeps_its_name_or_gets_one(self, tmp_path: Path) -> None:
        file = write(tmp_path, {"model.keras": b"weights"}) / "model.keras"
        layer, model_digest = layers.of_model(file)
        assert model_digest == digest.of_path(file)
        assert [member.name for member in members(blob(layer))] == ["model", "model/model.keras"]
        file.rename(tmp_path / "model")
        assert layers.of_model(tmp_path / "model", name="model.keras")[0].descriptor == layer.descriptor

    def test_names_that_are_no_text_are_kept(self, tmp_path: Path) -> None:
        model = tmp_path / "m"
        model.mkdir()
        Path(os.fsdecode(os.fsencode(model) + b"/\xff\xfe")).write_bytes(b"1")
        layer, model_digest = layers.of_model(model)
        assert model_digest == digest.of_path(model)
        assert os.fsencode(members(blob(layer))[-1].name) == b"model/\xff\xfe"

    @pytest.mark.parametrize("size", [100, 3_000_000])
    def test_a_file_that_shrinks_while_it_is_read_is_told(self, tmp_path: Path, size: int) -> None:
        model = write(tmp_path / "m", {"a": bytes(3_000_000)})
        layer, _ = layers.of_model(model)
        chunks = iter(layer.source())
        before = b"".join(itertools.islice(chunks, 3))
        assert len(before) < 3_000_000
        os.truncate(model / "a", size if size == 100 else 4_000_000)
        with pytest.raises(InputError, match="changed while it was read"):
            list(chunks)


SOURCE = b"answer = 42\n"
BYTECODE = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, 1_700_000_000, len(SOURCE)) + b"code"
UNCHECKED = importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + b"8 bytes." + b"code"
LAYER = (
    Entry("opt", kind=tarfile.DIRTYPE, mode=0o755),
    Entry("opt/ping", b"\x7fELF", mode=0o4755, uid=1000, attributes={"SCHILY.xattr.security.capability": "\1\0\0\2\udcff"}),
    Entry("opt/again", kind=tarfile.LNKTYPE, link="opt/ping"),
    Entry("opt/link", kind=tarfile.SYMTYPE, link="../ping" * 30),
    Entry("opt/.wh.gone"),
    Entry("opt/" + "long/" * 60 + "ü", b"x"),
    Entry("opt/pipe", kind=tarfile.FIFOTYPE),
    Entry("zero", kind=tarfile.CHRTYPE),
    Entry("opt/__pycache__/code.cpython-311.pyc", BYTECODE),
    Entry("opt/__pycache__/hashed.cpython-311.pyc", UNCHECKED),
    Entry("usr/lib/python3/__pycache__/json.cpython-311.pyc", BYTECODE),
    Entry("opt/code.py", SOURCE),
    Entry("opt/hashed.py", SOURCE),
    Entry("opt/old.pyc", BYTECODE),
    Entry("opt/old.py", SOURCE),
    Entry("opt/short.pyc", b"123"),
    Entry("opt/short.py", SOURCE),
)


def built(*, time: float = 1_700_000_000.5, user: str = "builder") -> bytes:
    return image_files.tar(LAYER, time=time, user=user, more={"atime": str(time + 1), "ctime": str(time + 2)})


def released(path: Path, *contents: bytes, form: Form = "old engine", packed: bool = False, base: int = 0) -> tuple[Layer, ...]:
    path.mkdir()
    image_files.save(path / "image.tar", [(contents, image_files.config(contents))], form=form, packed=packed)
    found, _ = layers.normalised(path / "image.tar", path, {}, base=[sha256(each) for each in contents[:base]])
    return found


class TestOfAnEngine:
    def test_when_and_by_whom_it_was_built_does_not_count(self, tmp_path: Path) -> None:
        one = released(tmp_path / "one", built())
        other = released(tmp_path / "other", built(time=1_800_000_000.25, user="root"))
        assert [layer.descriptor for layer in one] == [layer.descriptor for layer in other]
        assert blob(one[0]) == blob(other[0])

    @pytest.mark.parametrize("form", image_files.FORMS)
    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
    def test_the_form_of_the_file_does_not_count(self, tmp_path: Path, form: Form, packed: bool) -> None:
        contents = built(), image_files.tar([Entry("second")]), built()
        plain = released(tmp_path / "plain", *contents)
        other = released(tmp_path / "other", *contents, form=form, packed=packed)
        assert [layer.descriptor for layer in other] == [layer.descriptor for layer in plain]
        assert [layer.created_by for layer in other] == ["step 0", "step 1", "step 2"]

    def test_the_descriptor_is_that_of_the_compressed_and_the_diff_id_that_of_the_plain_bytes(self, tmp_path: Path) -> None:
        (layer,) = released(tmp_path / "work", built())
        content = blob(layer)
        assert layer.descriptor == oci.Descriptor(media_type=oci.LAYER_GZIP, digest=sha256(content), size=len(content))
        assert gzip.decompress(content) == b"".join(layer.tar())
        assert layer.diff_id == sha256(gzip.decompress(content))
        assert layer.tar_size == len(gzip.decompress(content))

    def test_everything_but_times_and_the_names_of_users_stays(self, tmp_path: Path) -> None:
        (layer,) = released(tmp_path / "work", built())
        before, after = members(built()), members(b"".join(layer.tar()))

        def kept(member: tarfile.TarInfo) -> tuple[object, ...]:
            return member.name, member.type, member.mode, member.uid, member.gid, member.size, member.linkname

        assert [kept(member) for member in after] == [kept(member) for member in before]
        assert {(member.mtime, member.uname, member.gname) for member in after} == {(0, "", "")}
        assert not {key for member in after for key in member.pax_headers} & {"atime", "ctime", "mtime"}
        attribute = "SCHILY.xattr.security.capability"
        assert after[1].pax_headers[attribute] == before[1].pax_headers[attribute] == LAYER[1].attributes[attribute]

    def test_bytecode_stays_valid_for_its_source(self, tmp_path: Path) -> None:
        (layer,) = released(tmp_path / "work", built())
        with tarfile.open(fileobj=io.BytesIO(b"".join(layer.tar()))) as archive:
            found = {
                member.name: stream.read()
                for member in archive
                if member.name.endswith(".pyc") and (stream := archive.extractfile(member))
            }
        without_time = BYTECODE[:8] + bytes(4) + BYTECODE[12:]
        assert found == {
            "opt/__pycache__/code.cpython-311.pyc": without_time,
            "opt/__pycache__/hashed.cpython-311.pyc": UNCHECKED,
            # Its source is not among the layers that lose their times.
            "usr/lib/python3/__pycache__/json.cpython-311.pyc": BYTECODE,
            "opt/old.pyc": without_time,
            "opt/short.pyc": b"123",
        }

    def test_bytecode_of_a_source_in_a_lower_layer_loses_its_time_with_it(self, tmp_path: Path) -> None:
        lower, upper = (
            image_files.tar([Entry("a.py", SOURCE)]),
            image_files.tar([Entry("__pycache__/a.cpython-311.pyc", BYTECODE)]),
        )
        assert BYTECODE in b"".join(released(tmp_path / "kept", lower, upper, base=1)[1].tar())
        assert BYTECODE not in b"".join(released(tmp_path / "rewritten", lower, upper)[1].tar())

    def test_the_layers_of_the_base_stay_as_they_are(self, tmp_path: Path) -> None:
        found = released(tmp_path / "work", built(), built(), base=1)
        assert b"".join(found[0].tar()) == built()
        assert found[0].diff_id == sha256(built())
        assert found[1].diff_id != found[0].diff_id

    def test_another_base_changes_nothing_in_what_is_built(self, tmp_path: Path) -> None:
        (path := tmp_path / "work").mkdir()
        image_files.save(path / "image.tar", [([built()], image_files.config([built()]))], form="new engine")
        found, _ = layers.normalised(path / "image.tar", path, {}, base=["sha256:" + "0" * 64])
        assert found[0].diff_id != sha256(built())

    def test_what_the_registry_has_is_taken_from_there(self, tmp_path: Path) -> None:
        (path := tmp_path / "work").mkdir()
        first = released(tmp_path / "first", built())[0]
        image_files.save(path / "image.tar", [([built()], image_files.config([built()]))], form="old engine")
        docker = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        known = oci.Descriptor(media_type=docker, digest=first.descriptor.digest, size=first.descriptor.size)
        (layer,), _ = layers.normalised(path / "image.tar", path, {first.diff_id: known})
        assert layer.descriptor == first.descriptor
        assert [file.name for file in path.iterdir()] == ["image.tar"]
        assert blob(layer) == blob(first)

    @pytest.mark.parametrize("form", image_files.FORMS)
    def test_a_damaged_file_is_told(self, tmp_path: Path, form: Form) -> None:
        whole = image_files.save(tmp_path / "whole", [([built()], image_files.config([built()]))], form=form).read_bytes()
        for size in (0, 300, 512, len(built()) // 2, len(whole) // 2):
            (tmp_path / "cut").write_bytes(whole[:size])
            with pytest.raises(InputError, match="not an image"):
                layers.normalised(tmp_path / "cut", tmp_path, {})

    @settings(max_examples=50)
    @given(
        st.sampled_from(["manifest.json", "index.json"]),
        st.sampled_from([b"", b"[]", b"{}", b"[1]", b'[{"Config": 1}]', b"\xff"]),
    )
    def test_a_file_with_another_content_is_told(self, name: str, content: bytes) -> None:
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(image_files.tar([Entry(name, content)]))
            with pytest.raises(InputError):
                saved.images(Path(file.name))

    def test_a_compression_that_is_not_known_here_is_told(self, tmp_path: Path) -> None:
        content = b"\x28\xb5\x2f\xfd" + bytes(100)
        path = image_files.save(tmp_path / "image.tar", [([content], image_files.config([content]))], form="layout")
        with pytest.raises(InputError, match="Zstandard"):
            layers.normalised(path, tmp_path, {})


class TestCompression:
    @given(st.lists(st.binary(max_size=300), max_size=20))
    def test_it_can_be_read_by_any_gzip(self, chunks: list[bytes]) -> None:
        assert gzip.decompress(b"".join(compression.gzipped(chunks))) == b"".join(chunks)

    @given(st.binary(min_size=1), st.integers(1, 3_000_000), st.integers(1, 5_000_000))
    @settings(max_examples=20)
    def test_where_the_chunks_end_does_not_count(self, pattern: bytes, one: int, other: int) -> None:
        content = (pattern * (3_500_000 // len(pattern) + 1))[:3_500_000]

        def cut(size: int) -> bytes:
            return b"".join(compression.gzipped(content[at : at + size] for at in range(0, len(content), size)))

        assert cut(max(one, 1000)) == cut(max(other, 1000))
        assert gzip.decompress(cut(len(content))) == content

    def test_it_holds_a_few_blocks_at_a_time(self) -> None:
        taken = 0

        def endless() -> Iterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield bytes(compression.BLOCK)

        list(itertools.islice(compression.gzipped(endless()), 10))
        assert taken < 40

    def test_it_costs_less_than_half_a_percent_over_one_stream(self) -> None:
        content = b"".join(f"{number} {number * number % 7919}\n".encode() for number in range(400_000))
        assert len(b"".join(compression.gzipped([content]))) < 1.005 * len(gzip.compress(content, 6))


def test_the_files_of_a_tar_can_be_looked_through() -> None:
    content = image_files.tar([Entry("a", b"1"), Entry("b", b"12345"), Entry("c", kind=tarfile.SYMTYPE, link="a")])
    assert list(tarball.files(io.BytesIO(content), most=4)) == [("a", b"1")]
