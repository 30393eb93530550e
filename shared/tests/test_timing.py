import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tables
from dlpapers_shared import timing


@pytest.fixture
def clock(monkeypatch):
    """Clocks that only move when a call moves them."""
    now = SimpleNamespace(cpu=0.0, wall=0.0, log=[])
    fake = SimpleNamespace(process_time=lambda: now.cpu, perf_counter=lambda: now.wall)
    monkeypatch.setattr(timing, "time", fake)
    return now


def burner(clock, name, cpu, wall):
    """A call that takes the next of the given times each time it is called."""
    cpu, wall = iter(cpu), iter(wall)

    def call():
        clock.log.append(name)
        clock.cpu += next(cpu)
        clock.wall += next(wall)

    return call


def test_sides_are_interleaved_and_the_warm_up_is_discarded(clock):
    ours = burner(clock, "ours", [100, 1, 2, 4], [100, 1, 1, 1])
    a = burner(clock, "a", [100, 3, 8, 4], [100, 5, 5, 5])
    b = burner(clock, "b", [100, 1, 1, 1], [100, 2, 2, 2])
    result = timing.compare(ours, {"a": a, "b": b}, rounds=3)
    assert clock.log == ["ours", "a", "b"] * 4
    assert [s.cpu for s in result.ours] == [1, 2, 4]
    assert [s.wall for s in result.baselines["a"]] == [5, 5, 5]


def test_speedup_is_the_median_of_the_speedups_of_the_rounds(clock):
    ours = burner(clock, "ours", [1, 2, 4], [1, 1, 1])
    peer = burner(clock, "peer", [3, 8, 4], [5, 7, 6])
    result = timing.compare(ours, {"peer": peer}, rounds=3, warmup=0)
    assert result.speedups("peer") == result.ratios("peer") == [3, 4, 1]
    assert result.speedup("peer") == result.ratio("peer") == 3  # the ratio of the medians would be 4 / 2
    assert result.speedup("peer", clock="wall") == 6
    assert result.columns("peer") == {"speedup": 3.0, "min": 1.0, "max": 4.0}
    assert result.peers == result.baselines
    assert (result.seconds(), result.seconds("peer"), result.seconds("peer", "wall")) == (2, 4, 6)


def test_waiting_counts_as_wall_time_only():
    import time

    seconds = timing.timed(lambda: time.sleep(0.05))
    assert seconds.wall >= 0.05
    assert seconds.cpu < 0.04


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"rounds": 0}, "rounds"),
        ({"rounds": 2.5}, "rounds"),
        ({"warmup": -1}, "warmup"),
        ({"baselines": {}}, "baselines"),
    ],
)
def test_bad_arguments_are_an_error(options, what):
    with pytest.raises(ValueError, match=f"`{what}` must"):
        timing.compare(**{"ours": list, "baselines": {"peer": list}} | options)


def test_call_that_is_too_short_for_the_clock_is_an_error(clock):
    with pytest.raises(ValueError, match="Put a loop into it"):
        timing.compare(lambda: None, {"peer": lambda: None})


def test_unknown_names_are_errors(clock):
    result = timing.Comparison([timing.Seconds(1, 1)], {"peer": [timing.Seconds(1, 1)]})
    with pytest.raises(ValueError, match="`baseline` must be one of peer, got 'pear'"):
        result.speedup("pear")
    with pytest.raises(ValueError, match="`clock` must be one of cpu, wall, got 'sun'"):
        result.speedup("peer", clock="sun")


def test_environment_states_what_changes_the_numbers(monkeypatch):
    for name, value in {"OMP_NUM_THREADS": "3", "ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_ARENA_MAX": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LD_PRELOAD_OTHER", "x")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 5))
    found = timing.environment("numpy")
    expected = {"OMP_NUM_THREADS": "3", "ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_ARENA_MAX": "1"}
    assert found["variables"].items() >= expected.items()
    assert "LD_PRELOAD_OTHER" not in found["variables"]
    assert found["threads"]["torch"] == 5
    assert isinstance(found["instruction_sets"], list)
    if sys.platform == "linux":
        assert found["load"] >= 0
    assert found["versions"] == {"python": sys.version.split()[0], "numpy": np.__version__}
    assert found["cores"] >= 1
    assert found["cpu"]
    with pytest.raises(ValueError, match="got 'no-such-thing'"):
        timing.environment("no-such-thing")


def test_record_can_be_read_by_the_table_tool(tmp_path):
    path = tmp_path / "results" / "speed.json"
    row = {"what": "σ ≤ 1", "ratio": np.float32(2.5), "n": np.int64(3)}
    timing.write_record(
        path, title="T", command="c", seed=7, rows=[row], distributions=["numpy"], dtype="float32", note="n"
    )
    found = tables.record(str(path))
    assert found["seed"] == 7
    assert found["rows"] == [{"what": "σ ≤ 1", "ratio": 2.5, "n": 3}]
    assert (found["note"], found["dtype"]) == ("n", "float32")
    assert "numpy" in found["versions"]
    assert tables.table(found["rows"]).splitlines()[2] == "| σ ≤ 1 | 2.5 | 3 |"
    assert [p.name for p in path.parent.iterdir()] == ["speed.json"]


def test_several_seeds_are_recorded_as_seeds(tmp_path):
    timing.write_record(tmp_path / "r.json", title="T", command="c", seed=[1, 2], rows=[{"a": 1}])
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert found["seeds"] == [1, 2]
    assert "seed" not in found
    assert "note" not in found


@pytest.mark.parametrize("rows", [[], [{"loss": math.nan}]])
def test_bad_record_leaves_the_old_one(tmp_path, rows):
    path = tmp_path / "r.json"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"rows|JSON"):
        timing.write_record(path, title="T", command="c", seed=0, rows=rows)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
