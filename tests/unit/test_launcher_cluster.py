"""Which of a task's nodes this is, and what data-parallel trainings are told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.train.launchers import cluster
from metricgate.train.launchers.cluster import ClusterError

SLURM = {"SLURM_JOB_ID": "41", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_PROCID": "1", "SLURM_NODEID": "0"}


def test_a_node_of_slurm_knows_the_others() -> None:
    place = cluster.place(SLURM, nodes=2, name="digits:0")
    environ = place.environ()
    assert (place.rank, place.hosts) == (1, ("n1", "n2"))
    first, second = place.port + 1, place.port + 2
    assert json.loads(environ["TF_CONFIG"]) == {
        "cluster": {"worker": [f"n1:{first}", f"n2:{second}"]},
        "task": {"type": "worker", "index": 1},
    }
    assert {name: environ[name] for name in ("MASTER_ADDR", "RANK", "WORLD_SIZE", "NODE_RANK", "NNODES", "LOCAL_RANK")} == {
        "MASTER_ADDR": "n1",
        "RANK": "1",
        "WORLD_SIZE": "2",
        "NODE_RANK": "1",
        "NNODES": "2",
        "LOCAL_RANK": "0",
    }
    assert environ["MASTER_PORT"] == str(place.port)


def test_a_launcher_may_name_the_nodes_itself() -> None:
    environ = {**SLURM, "METRICGATE_CLUSTER_HOSTS": "a-0.svc,a-1.svc", "JOB_COMPLETION_INDEX": "0"}
    place = cluster.place(environ, nodes=2, name="digits:0")
    assert (place.rank, place.hosts) == (0, ("a-0.svc", "a-1.svc"))


def test_one_node_is_told_nothing() -> None:
    assert cluster.place(SLURM, nodes=1, name="digits:0").environ() == {}


@pytest.mark.parametrize("lacking", ["SLURM_JOB_NODELIST", "SLURM_PROCID"])
def test_nodes_that_the_engine_does_not_name_are_an_error(lacking: str) -> None:
    environ = {name: value for name, value in SLURM.items() if name not in (lacking, "SLURM_NODEID")}
    with pytest.raises(ClusterError, match="the job has 2 nodes, and the engine named"):
        cluster.place(environ, nodes=2, name="digits:0")
    with pytest.raises(ClusterError, match="the engine named 2"):
        cluster.place(SLURM, nodes=3, name="digits:0")


@given(st.integers(1, 10**7), st.integers(1, 1024))
def test_jobs_that_follow_each_other_share_no_port(number: int, nodes: int) -> None:
    def ports(job: int) -> set[int]:
        first = cluster.place({**SLURM, "SLURM_JOB_ID": str(job), "SLURM_JOB_NODELIST": ""}, nodes=1, name="").port
        assert 20_000 <= first < 30_000
        return set(range(first, first + 2))

    assert not ports(number) & ports(number + 1)
    hosts = ",".join(f"n{rank}" for rank in range(nodes))
    environ = {"METRICGATE_CLUSTER_HOSTS": hosts, "METRICGATE_CLUSTER_RANK": "0", "SLURM_JOB_ID": str(number)}
    place = cluster.place(environ, nodes=nodes, name="")
    assert place.port >= 20_000
    assert place.port + nodes <= 30_000
