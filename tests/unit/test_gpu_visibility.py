"""What CUDA_VISIBLE_DEVICES leaves of a machine's GPUs, as CUDA reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.train.gpu.nvidia import Nvidia, visible
from metricgate.train.gpu.vendor import Device

WHOLE = [Device("nvidia", n, f"GPU-{name}", "NVIDIA A100") for n, name in enumerate(["1a2b-aaaa", "1a2c-bbbb", "99ff-cccc"])]
SLICES = [Device("nvidia", 3, f"MIG-{name}", "NVIDIA A100 MIG 1g.5gb") for name in ("77aa", "77bb")]
ALL = [*WHOLE, *SLICES]


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        (None, [0, 1, 2, 3, 4]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("0,-1,1", [0]),
        ("0,7,1", [0]),
        ("1,1", [1]),
        ("GPU-99ff-cccc", [2]),
        ("GPU-99", [2]),
        ("GPU-1a2", []),
        ("99ff", []),
        ("MIG-77bb,GPU-1a2b", [4, 0]),
        ("GPU-99,oops,0", [2]),
        ("0,,1", [0]),
        ("٣", []),
    ],
)
def test_indices_and_the_beginnings_of_names_count_up_to_the_first_entry_that_means_nothing(
    setting: str | None, shown: list[int]
) -> None:
    assert visible(ALL, setting) == tuple(ALL[place] for place in shown)


@given(st.lists(st.sampled_from(["0", "1", "2", "-1", "9", "GPU-1a2b", "GPU-", "MIG-77aa", "x", ""]), max_size=6).map(",".join))
def test_nothing_is_shown_twice_or_from_nowhere(setting: str) -> None:
    shown = visible(ALL, setting)
    assert len(set(shown)) == len(shown)
    assert set(shown) <= set(ALL)


@given(st.permutations(ALL), st.integers(0, len(ALL)))
def test_what_a_process_is_told_to_see_is_what_it_sees(devices: list[Device], count: int) -> None:
    told = Nvidia().variables(devices[:count])["CUDA_VISIBLE_DEVICES"]
    assert visible(ALL, told) == tuple(devices[:count])
