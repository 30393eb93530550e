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


def test_the_sides_take_turns_and_the_warm_up_is_not_kept(clock):
    ours = burner(clock, "ours", [100, 1, 2, 4], [100, 1, 1, 1])
    a = burner(clock, "a", [100, 3, 8, 4], [100, 5, 5, 5])
    b = burner(clock, "b", [100, 1, 1, 1], [100, 2, 2, 2])
    result = timing.compare(ours, {"a": a, "b": b}, rounds=3)
    assert clock.log == ["ours", "a", "b"] * 4
    assert [s.cpu for s in result.ours] == [1, 2, 4]
    assert [s.wall for s in result.peers["a"]] == [5, 5, 5]


def test_the_ratio_is_the_median_of_the_rounds_own_ratios(clock):
    ours = burner(clock, "ours", [1, 2, 4], [1, 1, 1])
    peer = burner(clock, "peer", [3, 8, 4], [5, 7, 6])
    result = timing.compare(ours, {"peer": peer}, rounds=3, warmup=0)
    assert result.ratios("peer") == [3, 4, 1]
    assert result.ratio("peer") == 3  # the ratio of the medians, 4 / 2, would be another
    assert result.ratio("peer", clock="wall") == 6
    assert (result.seconds(), result.seconds("peer"), result.seconds("peer", "wall")) == (2, 4, 6)


def test_waiting_is_wall_time_and_no_cpu_time():
    import time

    seconds = timing.timed(lambda: time.sleep(0.05))
    assert seconds.wall >= 0.05
    assert seconds.cpu < 0.04


@pytest.mark.parametrize(
    ("options", "what"), [({"rounds": 0}, "rounds"), ({"warmup": -1}, "warmup"), ({"peers": {}}, "peers")]
)
def test_what_cannot_be_compared_is_named(options, what):
    with pytest.raises(ValueError, match=what):
        timing.compare(**{"ours": list, "peers": {"peer": list}} | options)


def test_a_call_too_short_for_the_clock_is_an_error(clock):
    with pytest.raises(ValueError, match="put a loop into it"):
        timing.compare(lambda: None, {"peer": lambda: None})


def test_unknown_names_are_errors(clock):
    result = timing.Comparison([timing.Seconds(1, 1)], {"peer": [timing.Seconds(1, 1)]})
    with pytest.raises(ValueError, match="'pear' was not timed; there is peer"):
        result.ratio("pear")
    with pytest.raises(ValueError, match="'sun'"):
        result.ratio("peer", clock="sun")


def test_the_environment_says_where_it_was():
    found = timing.environment("numpy")
    assert found["versions"] == {"python": sys.version.split()[0], "numpy": np.__version__}
    assert found["cores"] >= 1
    assert found["cpu"]
    with pytest.raises(ValueError, match="no-such-thing is not installed"):
        timing.environment("no-such-thing")


def test_a_record_is_what_the_tables_are_made_from(tmp_path):
    path = tmp_path / "results" / "speed.json"
    row = {"what": "σ ≤ 1", "ratio": np.float32(2.5), "n": np.int64(3)}
    timing.write_record(path, title="T", command="c", seed=7, rows=[row], distributions=["numpy"], note="n")
    found = tables.record(str(path))
    assert found["seed"] == 7
    assert found["rows"] == [{"what": "σ ≤ 1", "ratio": 2.5, "n": 3}]
    assert found["note"] == "n"
    assert "numpy" in found["versions"]
    assert tables.table(found["rows"]).splitlines()[2] == "| σ ≤ 1 | 2.5 | 3 |"
    assert [p.name for p in path.parent.iterdir()] == ["speed.json"]


def test_several_seeds_are_written_as_seeds(tmp_path):
    timing.write_record(tmp_path / "r.json", title="T", command="c", seed=[1, 2], rows=[{"a": 1}])
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert found["seeds"] == [1, 2]
    assert "seed" not in found
    assert "note" not in found


@pytest.mark.parametrize("rows", [[], [{"loss": math.nan}]])
def test_a_bad_record_leaves_the_old_one(tmp_path, rows):
    path = tmp_path / "r.json"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"rows|JSON"):
        timing.write_record(path, title="T", command="c", seed=0, rows=rows)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
