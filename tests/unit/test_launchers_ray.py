"""What Ray is asked for, who it is told that asks, and what its answers mean in words."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from metricgate.errors import UsageError
from metricgate.train.launchers import ray, ray_driver
from metricgate.train.launchers.job import Job, State, Task


def a_job(*, nodes: int = 1, gpus: int | None = None) -> Job:
    return Job(
        key="mg-0f3a-1",
        name="digits at 1234567",
        folder=Path("/shared/a job"),
        line="python train.py; rm -rf /",
        cwd=Path("/shared/work"),
        tasks=(Task(7, {"METRICGATE_SEED": "7"}, Path("/shared/7.log")),),
        nodes=nodes,
        gpus=gpus,
        timeout_s=3600,
        grace_s=30,
    )


class TestRequest:
    def test_one_node_is_the_worker_with_what_it_needs(self) -> None:
        body = ray.request(a_job(gpus=2), 7, gpus=2, cpus=8)
        assert body["submission_id"] == "mg-0f3a-1-7"
        assert (body["entrypoint_num_cpus"], body["entrypoint_num_gpus"]) == (8, 2)
        worker = ["python3", "/shared/a job/worker.py", "/shared/a job/job.json", "7"]
        assert shlex.split(body["entrypoint"]) == ["exec", "env", "METRICGATE_ENGINE_TELLS_ALL=1", *worker]

    def test_the_users_line_reaches_no_shell_of_ours(self) -> None:
        for nodes in (1, 2):
            assert "rm -rf" not in str(ray.request(a_job(nodes=nodes), 7, gpus=0, cpus=1))

    def test_several_nodes_are_a_driver_that_holds_nothing_itself(self) -> None:
        body = ray.request(a_job(nodes=2), 7, gpus=1, cpus=0.5)
        assert not {"entrypoint_num_cpus", "entrypoint_num_gpus"} & body.keys()
        words = shlex.split(body["entrypoint"])
        assert words[:5] == ["python3", "/shared/a job/ray_driver.py", "drive", "/shared/a job", "7"]
        assert words[5:] == ["--nodes", "2", "--cpus", "0.5", "--gpus", "1", "--grace", "30", "--", *a_job(nodes=2).command(7)]

    def test_ray_waits_longer_than_the_grace_period(self) -> None:
        assert int(ray.request(a_job(), 7, gpus=0, cpus=1)["runtime_env"]["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 30


class TestHeaders:
    def test_without_a_token_there_is_none(self, tmp_path: Path) -> None:
        assert ray.headers({"HOME": str(tmp_path)}) == {}

    def test_a_token_from_the_environment(self) -> None:
        assert ray.headers({"RAY_AUTH_TOKEN": "t0k"}) == {"Authorization": "Bearer t0k"}

    def test_a_token_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("t0k\n")
        assert ray.headers({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}) == {"Authorization": "Bearer t0k"}

    def test_the_file_that_rays_own_client_reads(self, tmp_path: Path) -> None:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray/auth_token").write_text("t0k")
        assert ray.headers({"HOME": str(tmp_path)}) == {"Authorization": "Bearer t0k"}

    def test_headers_for_what_stands_before_the_cluster(self) -> None:
        assert ray.headers({"RAY_JOB_HEADERS": '{"Cookie": "x"}', "HOME": "/nowhere"}) == {"Cookie": "x"}

    @pytest.mark.parametrize(
        "environ",
        [
            {"RAY_JOB_HEADERS": "Cookie: x"},
            {"RAY_JOB_HEADERS": '{"a": 1}'},
            {"RAY_JOB_HEADERS": "[]"},
            {"RAY_AUTH_TOKEN_PATH": "/nowhere"},
        ],
    )
    def test_what_is_wrong_is_said(self, environ: dict[str, str]) -> None:
        with pytest.raises(UsageError):
            ray.headers(environ)


def an_answer(status: str, **more: Any) -> dict[str, Any]:
    return {"status": status, "driver_agent_http_address": "http://10.0.0.7:52365", **more}


class TestWords:
    def test_waiting_for_resources(self) -> None:
        message = "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory) to become available."
        state = ray.state_of(an_answer("PENDING", message=message), placement=None)
        assert (state.state, state.why) == (State.WAITING, "waits for free processors or GPUs of the cluster")

    def test_running_says_where(self) -> None:
        state = ray.state_of(an_answer("RUNNING"), placement=None)
        assert (state.state, state.nodes) == (State.RUNNING, ("10.0.0.7",))

    def test_a_driver_that_waits_for_its_nodes_is_no_training_that_runs(self) -> None:
        state = ray.state_of(an_answer("RUNNING"), placement="waits for 2 nodes of the cluster with 1 CPU each")
        assert (state.state, state.why) == (State.WAITING, "waits for 2 nodes of the cluster with 1 CPU each")
        assert ray.state_of(an_answer("RUNNING"), placement="").state is State.RUNNING

    def test_done(self) -> None:
        assert ray.state_of(an_answer("SUCCEEDED"), placement=None).state is State.DONE

    def test_its_own_exit_code(self) -> None:
        answer = an_answer("FAILED", driver_exit_code=3, error_type="JOB_ENTRYPOINT_COMMAND_ERROR", message="Job entrypoint …")
        state = ray.state_of(answer, placement=None)
        assert (state.state, state.why, state.kind) == (State.FAILED, "ended with exit code 3", "exit")

    def test_stopped_by_somebody(self) -> None:
        state = ray.state_of(an_answer("STOPPED"), placement=None)
        assert (state.state, state.kind) == (State.LOST, "cancelled")

    def test_a_node_that_died_is_worth_another_try(self) -> None:
        state = ray.state_of(an_answer("FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED", message="…"), placement=None)
        assert (state.state, state.kind) == (State.LOST, "node_failure")
        state = ray.state_of(an_answer("FAILED", driver_exit_code=ray_driver.NODE_LOST), placement="")
        assert (state.state, state.kind) == (State.LOST, "node_failure")

    def test_an_exit_code_of_the_training_is_not_the_drivers(self) -> None:
        answer = an_answer("FAILED", driver_exit_code=ray_driver.NODE_LOST)
        assert ray.state_of(answer, placement=None).why == f"ended with exit code {ray_driver.NODE_LOST}"

    def test_a_cluster_that_lets_nothing_wait_is_told_what_to_change(self) -> None:
        state = ray.state_of(an_answer("FAILED", error_type="JOB_SUPERVISOR_ACTOR_START_TIMEOUT"), placement=None)
        assert state.kind == "queue_timeout"
        assert "RAY_JOB_START_TIMEOUT_SECONDS" in state.advice

    def test_a_driver_without_ray(self) -> None:
        said = "has no Ray in the python3 of the cluster's jobs: No module named 'ray'"
        state = ray.state_of(an_answer("FAILED", driver_exit_code=ray_driver.NO_RAY), placement=said)
        assert (state.why, state.kind) == (said, "engine")

    def test_what_could_not_begin_quotes_ray(self) -> None:
        answer = an_answer("FAILED", error_type="RUNTIME_ENV_SETUP_FAILURE", message="Traceback\n  File x\nOSError: disk full")
        assert ray.state_of(answer, placement=None).why.endswith("(Ray: OSError: disk full)")


ASKED = {"CPU": 1.0, "GPU": 2.0}


class TestPlacement:
    def test_nodes_of_a_training_are_machines_of_their_own(self) -> None:
        nodes = [{"Alive": True, "Resources": {"CPU": 64, "GPU": 8}}, {"Alive": True, "Resources": {"CPU": 64, "GPU": 8}}]
        assert ray_driver.strategy(nodes, ASKED, 2) == "STRICT_SPREAD"

    def test_a_cluster_of_one_machine_that_has_room_for_all_is_enough(self) -> None:
        nodes: list[dict[str, Any]] = [{"Alive": True, "Resources": {"CPU": 64, "GPU": 8}}, {"Alive": False}]
        assert ray_driver.strategy(nodes, ASKED, 2) == "PACK"

    def test_a_head_node_that_has_no_room_waits_for_machines_that_are_started_for_it(self) -> None:
        assert ray_driver.strategy([{"Alive": True, "Resources": {"CPU": 0}}], ASKED, 2) == "STRICT_SPREAD"

    def test_what_the_driver_said_last_is_kept_for_the_runner(self, tmp_path: Path) -> None:
        assert ray_driver.placement(tmp_path, 0) == "waits for its driver to start"
        (tmp_path / "ray-0.placement").write_text("")
        assert ray_driver.placement(tmp_path, 0) == ""
