"""What an engine is given to build from, and secrets where they must not be."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests import image_files
from tests.image_files import Entry

from metricgate.errors import InputError, StageError
from metricgate.release import context, leaks, saved
from metricgate.release.context import LeftOut
from metricgate.release.leaks import Secrets

TOKEN = "ghs_A1b2C3d4E5f6G7h8"
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n"


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def copied(tmp_path: Path, files: Mapping[str, str], **options: object) -> tuple[set[str], dict[str, str]]:
    root = write(tmp_path / "repository", {"Dockerfile": "FROM scratch\n", **files})
    made = context.copy(root, tmp_path / "context", **options)  # type: ignore[arg-type]
    assert made.files == len(files_in(made.folder))
    return files_in(made.folder) - {"Dockerfile"}, {each.path: each.why for each in made.left_out}


class TestContext:
    def test_code_is_copied_and_nothing_is_left_out(self, tmp_path: Path) -> None:
        assert copied(tmp_path, {"serve.py": "1", "pkg/__init__.py": "", "pkg/names.json": "{}"}) == (
            {"serve.py", "pkg/__init__.py", "pkg/names.json"},
            {},
        )

    @pytest.mark.parametrize(
        "path",
        [
            *(".env", ".env.production", "config/.env.local", ".netrc", ".npmrc", "home/.pypirc", ".git-credentials"),
            *("server.pem", "tls/SERVER.KEY", "id_rsa", "keys/id_ed25519", "store.p12", "credentials.json"),
            *(".docker/config.json", ".aws/credentials", "home/.ssh/known_hosts", ".config/gcloud/access_tokens.db"),
        ],
    )
    def test_credentials_stay_here(self, tmp_path: Path, path: str) -> None:
        kept, left_out = copied(tmp_path, {"serve.py": "1", path: "secret"})
        assert kept == {"serve.py"}
        assert list(left_out.values()) == ["credentials"]
        assert path.startswith(next(iter(left_out)))

    @pytest.mark.parametrize("content", [KEY, '{"type": "service_account", "project_id": "x"}', "-----BEGIN PRIVATE KEY-----"])
    def test_keys_are_known_by_what_they_hold(self, tmp_path: Path, content: str) -> None:
        assert copied(tmp_path, {"deploy/settings.json": content}) == (set(), {"deploy/settings.json": "credentials"})

    @pytest.mark.parametrize("path", ["id_mapping.csv", "environment.yml", "keys.py", "data/keys.json", "tokens.txt", "pem.md"])
    def test_what_only_sounds_alike_is_copied(self, tmp_path: Path, path: str) -> None:
        assert copied(tmp_path, {path: "harmless"}) == ({path}, {})

    def test_history_and_caches_stay_here_and_are_told_once(self, tmp_path: Path) -> None:
        kept, left_out = copied(
            tmp_path,
            {
                ".git/config": "",
                ".git/objects/ab/cd": "",
                ".metricgate/runs/x": "",
                "pkg/__pycache__/a.pyc": "",
                ".venv/bin/python": "",
            },
        )
        assert kept == set()
        assert left_out == {
            ".git": "history",
            ".metricgate": "made anew by tools",
            ".venv": "made anew by tools",
            "pkg/__pycache__": "made anew by tools",
        }

    def test_the_file_that_stands_for_the_history_in_a_worktree_stays_too(self, tmp_path: Path) -> None:
        assert copied(tmp_path, {".git": "gitdir: /somewhere"}) == (set(), {".git": "history"})

    def test_training_data_stays_here(self, tmp_path: Path) -> None:
        files = {"images/1.png": "1", "train.csv": "1", "sub/a.parquet": "1", "sub/b.parquet": "1", "sub/code.py": "1"}
        kept, left_out = copied(tmp_path, files, data=["images", "./train.csv", "**/*.parquet", "nothing/*"])
        assert kept == {"sub/code.py"}
        assert left_out == dict.fromkeys(
            ["images", "train.csv", "sub/a.parquet", "sub/b.parquet"], "training data (train.data)"
        )

    def test_training_data_with_an_absolute_path_in_the_repository_stays_too(self, tmp_path: Path) -> None:
        kept, _ = copied(tmp_path, {"data/1": "1"}, data=[str(tmp_path / "repository" / "data"), "/etc/hostname"])
        assert kept == set()

    def test_a_large_folder_called_data_is_told_and_stays_a_small_one_goes(self, tmp_path: Path) -> None:
        files = {"Data/large": "1" * 2_000_000, "pkg/data/small": "1", "datasets.py": "1"}
        assert copied(tmp_path, files, most_data=1_000_000) == (
            {"pkg/data/small", "datasets.py"},
            {"Data": "a data set of 2 MB"},
        )

    def test_dockerignore_is_obeyed_as_docker_does_it(self, tmp_path: Path) -> None:
        ignore = "# comment\n*.md\n!README.md\nbuild/\n**/*.log\n"
        files = {"a.md": "", "README.md": "", "build/x": "", "pkg/x.log": "", "pkg/x.py": "", ".dockerignore": ignore}
        kept, left_out = copied(tmp_path, files)
        assert kept - {".dockerignore"} == {"README.md", "pkg/x.py"}
        assert left_out == {}

    def test_dockerignore_can_not_bring_a_credential_in(self, tmp_path: Path) -> None:
        kept, left_out = copied(tmp_path, {".dockerignore": "*\n!.env\n!serve.py\n", ".env": "A=1", "serve.py": "1"})
        assert kept - {".dockerignore"} == {"serve.py"}
        assert left_out == {".env": "credentials"}

    def test_a_dockerfile_may_have_an_ignore_file_of_its_own(self, tmp_path: Path) -> None:
        files = {"serving.Dockerfile": "", "serving.Dockerfile.dockerignore": "a", ".dockerignore": "b", "a": "", "b": ""}
        kept, _ = copied(tmp_path, files, dockerfile="serving.Dockerfile")
        assert {"a", "b"} & kept == {"b"}

    def test_the_copy_has_the_same_modes_and_times_on_every_machine(self, tmp_path: Path) -> None:
        found = []
        for name, umask, time in (("one", 0o022, 1e9), ("other", 0o077, 1.7e9)):
            before = os.umask(umask)
            try:
                root = write(tmp_path / name, {"Dockerfile": "", "bin/run.sh": "#!/bin/sh", "a.py": "1"})
                (root / "bin" / "run.sh").chmod(0o777 & ~umask)
                (root / "link").symlink_to("a.py")
                for path in root.rglob("*"):
                    os.utime(path, (time, time), follow_symlinks=False)
                folder = context.copy(root, tmp_path / f"{name}-context").folder
            finally:
                os.umask(before)
            stats = {path.relative_to(folder): path.lstat() for path in (folder, *folder.rglob("*"))}
            found.append({path: (oct(stat.st_mode), stat.st_mtime) for path, stat in stats.items()})
        assert found[0] == found[1]
        assert found[0][Path("bin/run.sh")][0] == "0o100755"
        assert found[0][Path("a.py")][0] == "0o100644"

    def test_links_are_copied_as_links(self, tmp_path: Path) -> None:
        root = write(tmp_path / "repository", {"Dockerfile": ""})
        (root / "out").symlink_to("/etc/passwd")
        assert context.copy(root, tmp_path / "context").folder.joinpath("out").readlink() == Path("/etc/passwd")

    def test_what_is_neither_file_nor_folder_is_left_out(self, tmp_path: Path) -> None:
        root = write(tmp_path / "repository", {"Dockerfile": ""})
        os.mkfifo(root / "pipe")
        assert context.copy(root, tmp_path / "context").left_out == (LeftOut("pipe", "neither a file nor a folder"),)

    def test_a_copy_into_itself_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="lie in what is copied"):
            context.copy(tmp_path, tmp_path / "context")

    def test_an_ignore_file_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        root = write(tmp_path / "repository", {"Dockerfile": ""})
        (root / ".dockerignore").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="not text"):
            context.copy(root, tmp_path / "context")

    def test_a_target_that_can_not_be_written_is_told(self, tmp_path: Path) -> None:
        root = write(tmp_path / "repository", {"Dockerfile": ""})
        (tmp_path / "file").write_text("")
        with pytest.raises(StageError, match="can't be copied"):
            context.copy(root, tmp_path / "file" / "context")


class TestSecrets:
    def test_they_are_known_by_the_names_of_variables(self) -> None:
        environ = {
            "GITHUB_TOKEN": TOKEN,
            "METRICGATE_REGISTRY_PASSWORD": "p4ssw0rd!",
            "AWS_SECRET_ACCESS_KEY": "x" * 20,
            "CLIENT_SECRET": "Secret-1",
            "METRICGATE_SIGNING_KEY": "-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----\n",
            "PATH": "/usr/local/sbin:/bin",
            "TOKENIZERS_PARALLELISM": "false" * 4,
        }
        assert set(Secrets.of(environ).values.values()) == {
            *(
                "GITHUB_TOKEN",
                "METRICGATE_REGISTRY_PASSWORD",
                "AWS_SECRET_ACCESS_KEY",
                "CLIENT_SECRET",
                "METRICGATE_SIGNING_KEY",
            ),
        }

    @pytest.mark.parametrize("value", ["", "postgres", "1", "true", "12345678", "  "])
    def test_what_any_text_may_hold_is_none(self, value: str) -> None:
        assert not Secrets.of({"DATABASE_PASSWORD": value}).values

    def test_no_representation_shows_them(self) -> None:
        assert TOKEN not in repr(Secrets.of({"GITHUB_TOKEN": TOKEN}))

    def test_they_are_masked(self) -> None:
        assert Secrets.of({"GITHUB_TOKEN": TOKEN}).masked(f"a {TOKEN} b{TOKEN}") == "a *** b***"


class TestLeaks:
    secrets = Secrets.of({"GITHUB_TOKEN": TOKEN})

    def refused(self, error: pytest.ExceptionInfo[StageError], where: str) -> None:
        assert "GITHUB_TOKEN" in str(error.value)
        assert where in str(error.value)
        assert TOKEN not in str(error.value)

    def test_a_build_argument_that_holds_one_is_refused(self) -> None:
        with pytest.raises(StageError) as caught:
            leaks.refuse_arguments({"INDEX": f"https://user:{TOKEN}@pypi.example"}, self.secrets)
        self.refused(caught, "INDEX")
        leaks.refuse_arguments({"INDEX": "https://pypi.example"}, self.secrets)

    def test_a_file_that_holds_one_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.py": "harmless", "large": "1" * 2_000_000})
        leaks.refuse_files(tmp_path, self.secrets)
        write(tmp_path, {"sub/settings.ini": f"token={TOKEN}\n"})
        with pytest.raises(StageError) as caught:
            leaks.refuse_files(tmp_path, self.secrets)
        self.refused(caught, "sub/settings.ini")

    @pytest.mark.parametrize(
        ("more", "where"),
        [
            ({"history": [{"created_by": "base"}, {"created_by": f"RUN curl {TOKEN}"}]}, "config.history[1].created_by"),
            ({"config": {"Labels": {"a": TOKEN}}}, "config.config.Labels.a"),
            ({"config": {"Labels": {TOKEN: "a"}}}, "config.config.Labels"),
            ({"config": {"Env": ["A=1", f"B={TOKEN}"]}}, "config.config.Env[1]"),
            ({"config": {"Cmd": ["run", "--token", TOKEN]}}, "config.config.Cmd[2]"),
        ],
        ids=["history", "label", "key of a label", "environment", "command"],
    )
    def test_a_config_that_holds_one_is_refused(self, tmp_path: Path, more: dict[str, Any], where: str) -> None:
        contents = [image_files.tar([Entry(name)]) for name in "ab"]
        path = image_files.save(tmp_path / "i", [(contents, image_files.config(contents, **more))], form="new engine")
        with pytest.raises(StageError) as caught:
            leaks.refuse_image(saved.images(path)[0], self.secrets)
        self.refused(caught, where)

    def test_a_layer_that_holds_one_is_refused_even_where_the_next_removes_it(self, tmp_path: Path) -> None:
        base = image_files.tar([Entry("etc/base", TOKEN.encode())])
        leaking = image_files.tar([Entry("a", b"1"), Entry("root/.netrc", f"password {TOKEN}".encode())])
        removing = image_files.tar([Entry("root/.wh..netrc")])
        contents = [base, leaking, removing]
        path = image_files.save(tmp_path / "i", [(contents, image_files.config(contents))], form="old engine")
        with pytest.raises(StageError) as caught:
            leaks.refuse_image(saved.images(path)[0], self.secrets, base=1)
        self.refused(caught, "/root/.netrc in layer 2 (step 1)")

    def test_an_image_without_any_passes(self, tmp_path: Path) -> None:
        contents = [image_files.tar([Entry("a", b"1"), Entry("b", kind=tarfile.DIRTYPE)])]
        path = image_files.save(tmp_path / "i", [(contents, image_files.config(contents))], form="old engine")
        leaks.refuse_image(saved.images(path)[0], self.secrets)
