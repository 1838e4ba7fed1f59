"""Digests: what they cover, what they don't, and that anyone can check them."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import config_file
from metricgate.config import Config
from metricgate.errors import InputError
from metricgate.evaluate import fingerprint
from metricgate.train import digest, environment, inputs, named_files

file_names = st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) < 200
)


def write(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


class TestDigest:
    def test_of_a_file_is_its_sha256(self, tmp_path: Path) -> None:
        content = b"weights" * 500_000  # longer than a chunk
        (tmp_path / "model").write_bytes(content)
        assert digest.of_path(tmp_path / "model") == "sha256:" + hashlib.sha256(content).hexdigest()

    def test_of_a_folder_has_the_documented_bytes(self, tmp_path: Path) -> None:
        write(tmp_path / "b", "2")
        write(tmp_path / "a" / "c", "1")
        lines = f"{hashlib.sha256(b'1').hexdigest()}  ./a/c\0{hashlib.sha256(b'2').hexdigest()}  ./b\0"  # sorted by path
        assert digest.of_path(tmp_path) == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()

    @given(files=st.dictionaries(file_names, st.binary(max_size=20), min_size=1, max_size=8))
    def test_of_a_folder_can_be_checked_with_coreutils(
        self, files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("model")
        for name, content in files.items():
            (folder / name).write_bytes(content)
        command = "find -L . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -z | sha256sum"
        checked = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, check=True, text=True)
        assert digest.of_path(folder) == "sha256:" + checked.stdout.split()[0]

    def test_does_not_depend_on_times_permissions_or_empty_folders(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a", "1")
        before = digest.of_path(tmp_path)
        file.chmod(0o700)
        file.touch()
        (tmp_path / "empty").mkdir()
        assert digest.of_path(tmp_path) == before

    @pytest.mark.parametrize("change", ["content", "name", "folder", "another file", "one file less"])
    def test_changes_with_every_file(self, change: str, tmp_path: Path) -> None:
        write(tmp_path / "a", "1")
        write(tmp_path / "b", "2")
        before = digest.of_path(tmp_path)
        if change == "content":
            write(tmp_path / "a", "3")
        elif change == "another file":
            write(tmp_path / "c")
        elif change == "one file less":
            (tmp_path / "a").unlink()
        else:
            (tmp_path / "x").mkdir()
            (tmp_path / "a").rename(tmp_path / ("x/a" if change == "folder" else "c"))
        assert digest.of_path(tmp_path) != before

    def test_a_link_counts_as_what_it_leads_to(self, tmp_path: Path) -> None:
        write(tmp_path / "one" / "blobs" / "0a", "1")
        write(tmp_path / "two" / "blobs" / "0a", "1")
        write(tmp_path / "one" / "weights", "1")
        (tmp_path / "two" / "weights").symlink_to("blobs/0a")
        assert digest.of_path(tmp_path / "one") == digest.of_path(tmp_path / "two")

    @pytest.mark.parametrize("target", ["/etc/hostname", "..", "../outside", "/nowhere", "inner"])
    def test_links_that_would_not_be_covered_are_refused(self, target: str, tmp_path: Path) -> None:
        write(tmp_path / "outside", "1")
        write(tmp_path / "model" / "inner" / "weights", "1")
        (tmp_path / "model" / "link").symlink_to(target)
        with pytest.raises(InputError, match="symbolic link leads"):
            digest.of_path(tmp_path / "model")

    def test_an_empty_folder_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="the folder is empty"):
            digest.of_path(tmp_path)

    @given(left=st.lists(st.text()), right=st.lists(st.text()))
    def test_of_texts_keeps_them_apart(self, left: list[str], right: list[str]) -> None:
        without_nul = all("\0" not in text for text in (*left, *right))
        assert (digest.of_texts(left) == digest.of_texts(right)) == (left == right) or not without_nul


def configured(evaluate: str, inputs: str = "[]") -> Config:
    return config_file.loads(
        f"evaluate: {{run: {evaluate!r}, inputs: {inputs}}}\nmetrics: {{accuracy: {{direction: higher}}}}\n"
    )


class TestEvaluation:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "repo"
        for name in ("evaluate.py", "eval config.yaml", "tools/score.py", "src/package/evaluate.py", "data/test.csv"):
            write(root / name, name)
        write(tmp_path / "outside.py", "outside")
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        subprocess.run(["git", "-C", str(root), "add", "."], check=True)
        write(root / "outputs" / "model.bin", "trained")
        return root

    def environ(self) -> dict[str, str]:
        return {"PATH": "/usr/local/bin:/usr/bin:/bin"}

    @pytest.mark.parametrize(
        ("line", "files"),
        [
            ("python evaluate.py", ["evaluate.py"]),
            ("python ./evaluate.py --config='eval config.yaml'", ["eval config.yaml", "evaluate.py"]),
            ("cd tools; python tools/score.py && echo done", ["tools/score.py"]),
            ("python -m package.evaluate --all", ["src/package/evaluate.py"]),
            ("python -m tools.score", ["tools/score.py"]),
            ("python evaluate.py outputs/model.bin", ["evaluate.py"]),  # git does not track the model
            ("python evaluate.py ../outside.py data", ["evaluate.py"]),
            ("python evaluate.py --note \"it's\"'", ["evaluate.py"]),  # quotes that don't pair
            ("make evaluate", []),
        ],
    )
    def test_covers_the_tracked_files_that_the_command_names(self, line: str, files: list[str], root: Path) -> None:
        assert list(named_files.named_files(line, root=root, environ=self.environ())) == files

    def test_all_named_files_count_where_there_is_no_git(self, tmp_path: Path) -> None:
        write(tmp_path / "evaluate.py")
        assert named_files.named_files("python evaluate.py", root=tmp_path, environ={"PATH": ""}) == ("evaluate.py",)

    @pytest.mark.parametrize("changed", ["evaluate.py", "data/test.csv", "data/new.csv", "the command"])
    def test_changes_with_the_command_its_files_and_its_inputs(self, changed: str, root: Path) -> None:
        def taken(line: str = "python evaluate.py") -> str | None:
            return fingerprint.of_evaluation(configured(line, "['data/**']"), root=root, environ=self.environ())

        before = taken()
        assert before == taken()
        if changed == "the command":
            assert taken("python evaluate.py --fast") != before
        else:
            write(root / changed, "changed")
            assert taken() != before

    def test_does_not_change_with_the_place_of_the_checkout_or_other_files(self, root: Path) -> None:
        before = fingerprint.of_evaluation(configured("python evaluate.py"), root=root, environ=self.environ())
        write(root / "train.py", "changed")
        moved = root.rename(root.with_name("elsewhere"))
        assert fingerprint.of_evaluation(configured("python evaluate.py"), root=moved, environ=self.environ()) == before

    def test_there_is_none_without_an_evaluation(self, root: Path) -> None:
        config = config_file.loads("metrics: {accuracy: {direction: higher}}\n")
        assert fingerprint.of_evaluation(config, root=root, environ=self.environ()) is None

    def test_an_input_that_is_not_there_is_refused(self, root: Path) -> None:
        with pytest.raises(InputError, match=r"evaluate.inputs: no file matches 'labels/\*'"):
            fingerprint.of_evaluation(configured("python evaluate.py", "['labels/*']"), root=root, environ=self.environ())


class TestData:
    def test_globs_reach_any_depth_and_folders_count_whole(self, tmp_path: Path) -> None:
        for name in ("data/a.csv", "data/deep/er/b.csv", "data/notes.txt", "images/1.png"):
            write(tmp_path / name)
        found = inputs.matches(["data/**/*.csv", "images"], root=tmp_path, key="train.data")
        assert sorted(found) == ["data/a.csv", "data/deep/er/b.csv", "images/1.png"]

    def test_data_may_lie_outside_the_repository(self, tmp_path: Path) -> None:
        file = write(tmp_path / "data" / "train.csv")
        (tmp_path / "repo").mkdir()
        assert inputs.matches([str(file)], root=tmp_path / "repo", key="train.data") == {str(file): file}

    def test_a_pattern_that_matches_nothing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"train\.data: no file matches 'data/train\.csv'"):
            inputs.matches(["data/train.csv"], root=tmp_path, key="train.data")


class TestEnvironment:
    def found(self, packages: dict[str, str], version: str = "3.11.4") -> dict[str, object]:
        return {"python": {"version": version, "packages": packages, "executable": "/usr/bin/python"}, "cores": 8}

    def test_does_not_depend_on_the_order_of_packages_or_on_the_machine(self) -> None:
        one = environment.fingerprint(self.found({"numpy": "2.4", "keras": "3.15"}))
        other = environment.fingerprint({**self.found({"keras": "3.15", "numpy": "2.4"}), "cores": 2})
        assert one == other

    def test_changes_with_a_version(self) -> None:
        fingerprints = {
            environment.fingerprint(self.found({"numpy": "2.4"})),
            environment.fingerprint(self.found({"numpy": "2.5"})),
            environment.fingerprint(self.found({"numpy": "2.4"}, version="3.12.1")),
        }
        assert len(fingerprints) == 3

    def test_is_unknown_where_the_packages_are(self) -> None:
        assert environment.fingerprint({"cores": 8}) is None


class TestImports:
    def test_are_followed_through_the_repository(self, tmp_path: Path) -> None:
        write(tmp_path / "tools" / "fetch.py", "import json, beside\nfrom data.sources import mirror\nimport numpy.linalg\n")
        write(tmp_path / "tools" / "beside.py", "def late():\n    import at_root\n")
        write(tmp_path / "at_root.py", "import at_root")  # itself
        write(tmp_path / "src" / "data" / "__init__.py", "from . import sizes\n")
        write(tmp_path / "src" / "data" / "sources.py", "from .mirrors import url\nfrom ..outside import x\n")
        write(tmp_path / "src" / "data" / "mirrors.py", "this is no Python\n")
        write(tmp_path / "src" / "data" / "sizes.py")
        write(tmp_path / "src" / "other.py")
        assert named_files.with_imports(["tools/fetch.py", "README.md"], root=tmp_path) == (
            "README.md",
            "at_root.py",
            "src/data/__init__.py",
            "src/data/mirrors.py",
            "src/data/sizes.py",
            "src/data/sources.py",
            "tools/beside.py",
            "tools/fetch.py",
        )

    def test_never_lead_out_of_it(self, tmp_path: Path) -> None:
        write(tmp_path / "secret.py")
        write(tmp_path / "repository" / "fetch.py", "from .. import secret\nfrom ... import secret\nfrom .... import x\n")
        assert named_files.with_imports(["fetch.py"], root=tmp_path / "repository") == ("fetch.py",)
