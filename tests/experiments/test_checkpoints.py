"""Checkpoints: exact, whole or not at all, and never read where they are damaged."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.checkpoints import CHECKPOINTS, open_checkpoints, read_newest
from experiments.digests import DIGESTS
from experiments.errors import UserError
from tests.experiments.disk import fill


class State(NamedTuple):
    params: Any
    step: Any


def state(step: int) -> State:
    values = np.random.default_rng(step).normal(size=(40, 16)).astype(np.float32)
    params = {"table": jnp.asarray(values), "half": jnp.asarray(values[0], jnp.bfloat16), "no": ()}
    return State(params, jnp.int32(step))


def assert_same(one: Any, other: Any) -> None:
    def same(a: Any, b: Any) -> None:
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    jax.tree.map(same, one, other)
    jax.tree.map(same, other, one)


def forbidden(text: str) -> None:
    raise AssertionError(text)


def steps_of(run: Path) -> list[str]:
    return sorted(path.name for path in (run / CHECKPOINTS).iterdir())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of the steps 10, 20 and 30, of which the newest two are left."""
    run = tmp_path_factory.mktemp("run")
    with open_checkpoints(run, forbidden) as checkpoints:
        assert checkpoints.newest(state(0)) is None
        for step in (10, 20, 30):
            checkpoints.save(step, state(step))
    assert steps_of(run) == ["20", "30"]
    return run


def copied(run: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(run, to)
    return to


def test_the_newest_is_read_bit_for_bit(saved: Path) -> None:
    with open_checkpoints(saved, forbidden) as checkpoints:
        found = checkpoints.newest(jax.eval_shape(lambda: state(0)))
    assert found is not None
    assert found[0] == 30
    assert_same(found[1], state(30))


def test_buffers_may_be_donated_as_soon_as_a_save_returns(tmp_path: Path) -> None:
    step = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf + 1.0, x), donate_argnums=0)
    # Random bits, so that writing takes longer than the steps after it.
    start = np.random.default_rng(0).normal(size=(2_000_000,)).astype(np.float32)
    now, expected = {"x": jnp.asarray(start)}, start
    with open_checkpoints(tmp_path, forbidden) as checkpoints:
        for number in range(1, 4):
            before = now["x"]
            now, expected = step(now), expected + np.float32(1)
            assert before.is_deleted()
            checkpoints.save(number, now)
            kept = expected.copy()
            for _ in range(3):
                now, expected = step(now), expected + np.float32(1)
            found = checkpoints.newest({"x": jax.ShapeDtypeStruct(start.shape, jnp.float32)})
            assert found is not None
            assert found[0] == number
            np.testing.assert_array_equal(found[1]["x"], kept)


def test_a_step_that_is_there_is_not_written_again(saved: Path, tmp_path: Path) -> None:
    run = copied(saved, tmp_path / "run")
    before = (run / CHECKPOINTS / "30").stat().st_mtime_ns
    with open_checkpoints(run, forbidden) as checkpoints:
        checkpoints.save(30, state(30))
    assert (run / CHECKPOINTS / "30").stat().st_mtime_ns == before


def _shardings() -> dict[str, NamedSharding]:
    devices = np.asarray(jax.devices())
    two = Mesh(devices[:2].reshape(2, 1), ("data", "classes"))
    eight = Mesh(devices.reshape(2, 4), ("data", "classes"))
    return {
        "rows of 8": NamedSharding(eight, PartitionSpec(("data", "classes"))),
        "both of 8": NamedSharding(eight, PartitionSpec("data", "classes")),
        "whole on 8": NamedSharding(eight, PartitionSpec()),
        "rows of 2": NamedSharding(two, PartitionSpec("data")),
    }


@pytest.mark.slow
def test_a_state_is_placed_on_other_devices_than_it_was_saved_from(tmp_path: Path) -> None:
    table = state(7).params["table"]
    shardings = {**_shardings(), "one": jax.sharding.SingleDeviceSharding(jax.devices()[3])}
    for name, sharding in shardings.items():
        with open_checkpoints(tmp_path / name, forbidden) as checkpoints:
            checkpoints.save(7, {"table": jax.device_put(table, sharding)})
            for wanted in shardings.values():
                like = {"table": jax.ShapeDtypeStruct(table.shape, table.dtype, sharding=wanted)}
                found = checkpoints.newest(like)
                assert found is not None
                assert found[1]["table"].sharding.is_equivalent_to(wanted, 2)
                assert_same(found[1], {"table": table})


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.slow
@pytest.mark.parametrize("damage", [Path.unlink, _cut, _flipped], ids=["gone", "cut", "one bit"])
def test_a_damaged_file_never_changes_what_is_read(
    damage: Callable[[Path], None], saved: Path, tmp_path: Path
) -> None:
    """Any one file of the newest checkpoint: it does not count, or the one before is read."""
    newest = saved / CHECKPOINTS / "30"
    files = [path.relative_to(newest) for path in newest.rglob("*") if path.is_file()]
    assert len(files) > 8
    for file in files:
        run = copied(saved, tmp_path / "run")
        damage(run / CHECKPOINTS / "30" / file)
        notes: list[str] = []
        with open_checkpoints(run, notes.append) as checkpoints:
            found = checkpoints.newest(state(0))
        assert found is not None
        assert_same(found[1], state(found[0]))
        # What Orbax says about the checkpoint as a whole is not read, and digests may be gone.
        counts = file.parts[0] == "default" and not (file.name == DIGESTS and damage is Path.unlink)
        assert found[0] == (20 if counts else 30), file
        assert len(notes) == counts
        if notes:
            (note,) = notes
            assert len(note.splitlines()) == 1
            assert note.startswith(f"the checkpoint {run / CHECKPOINTS / '30'} cannot be read (")
            assert note.endswith("): moved to unreadable-30, going on from step 20")
            assert steps_of(run) == ["20", "unreadable-30"]


@pytest.mark.slow
def test_what_cannot_be_read_is_moved_aside_and_its_step_is_saved_again(
    saved: Path, tmp_path: Path
) -> None:
    run, notes = copied(saved, tmp_path / "run"), list[str]()
    for _ in range(2):
        _emptied(run / CHECKPOINTS / "30" / "default" / "_METADATA")
        with open_checkpoints(run, notes.append) as checkpoints:
            found = checkpoints.newest(state(0))
            assert found is not None
            assert found[0] == 20
            checkpoints.save(30, state(31))
            found = checkpoints.newest(state(0))
            assert found is not None
            assert found[0] == 30
            assert_same(found[1], state(31))
    assert steps_of(run) == ["20", "30", "unreadable-30", "unreadable-30-2"]
    assert [note.split("moved to ")[1] for note in notes] == [
        "unreadable-30, going on from step 20",
        "unreadable-30-2, going on from step 20",
    ]


@pytest.mark.slow
def test_a_run_without_a_readable_checkpoint_begins_again(saved: Path, tmp_path: Path) -> None:
    run, notes = copied(saved, tmp_path / "run"), list[str]()
    shutil.rmtree(run / CHECKPOINTS / "30" / "default")
    _cut(run / CHECKPOINTS / "20" / "default" / "manifest.ocdbt")
    assert read_newest(run, state(0), notes.append) is None
    assert steps_of(run) == ["20", "30"]
    assert ["cannot be read" in note for note in notes] == [True, True]
    notes.clear()
    with open_checkpoints(run, notes.append) as checkpoints:
        assert checkpoints.newest(state(0)) is None
        assert all(note.endswith("the run begins again") for note in notes)
        assert len(notes) == 2
        checkpoints.save(10, state(10))
    assert steps_of(run) == ["10", "unreadable-20", "unreadable-30"]
    found = read_newest(run, state(0), forbidden)
    assert found is not None
    assert_same(found[1], state(10))


def test_what_a_kill_left_half_written_is_removed(saved: Path, tmp_path: Path) -> None:
    run = copied(saved, tmp_path / "run")
    checkpoints_of = run / CHECKPOINTS
    shutil.copytree(checkpoints_of / "30", checkpoints_of / "35.orbax-checkpoint-tmp")
    (checkpoints_of / "30").rename(checkpoints_of / "30.orbax-checkpoint-tmp")
    with open_checkpoints(run, forbidden) as checkpoints:
        found = checkpoints.newest(state(0))
        assert found is not None
        assert found[0] == 20
        checkpoints.save(30, state(30))
    assert steps_of(run) == ["20", "30"]


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_space(
    small_disk: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    filling = small_disk / "filling"
    filling.write_bytes(bytes(900_000))
    large = {"x": jnp.asarray(np.random.default_rng(0).normal(size=50_000), jnp.float32)}
    run = small_disk / "run"
    with open_checkpoints(run, forbidden) as checkpoints:
        checkpoints.save(1, {"x": jnp.zeros(50_000)})
        checkpoints.save(2, large)
        with pytest.raises(UserError) as caught:
            checkpoints.wait()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{run / CHECKPOINTS} cannot be written: No space left on device; ")
    # Not even the smallest file can be written.
    with filling.open("ab") as file:
        fill(file.fileno())
    with (
        pytest.raises(UserError, match="No space left on device"),
        open_checkpoints(run, forbidden) as checkpoints,
    ):
        checkpoints.save(3, large)
    filling.unlink()
    with open_checkpoints(run, forbidden) as checkpoints:
        found = checkpoints.newest(large)
        assert found is not None
        assert found[0] == 1
        assert not found[1]["x"].any()
        checkpoints.save(2, large)
        checkpoints.save(3, large)
        found = checkpoints.newest(large)
        assert found is not None
        assert found[0] == 3
        assert_same(found[1], large)
    out, err = capfd.readouterr()
    assert out + err == ""
    # Orbax logs the trace of an error that it raises, once for each of its threads.
    assert not caplog.records


def test_an_error_of_the_training_is_not_called_one_of_the_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_checkpoints(tmp_path, forbidden):
        (tmp_path / "no data").read_text()


def test_a_mistake_of_the_program_is_not_called_a_full_disk(tmp_path: Path) -> None:
    before = threading.enumerate()
    with (
        open_checkpoints(tmp_path, forbidden) as checkpoints,
        pytest.raises(ValueError, match="Unsupported type") as caught,
    ):
        checkpoints.save(1, {"x": object()})
    assert not isinstance(caught.value, UserError)
    # A thread that waits for what never comes would keep the process from ending.
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
