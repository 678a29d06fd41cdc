"""Episodes on disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worldmodel.rollouts import DatasetInfo, Episode, EpisodeDataset, storage
from worldmodel.rollouts.manifest import EPISODES_FILE, append_record, write_info
from worldmodel.rollouts.storage import ROW_GROUP, adopt_episode, write_episode

INFO = DatasetInfo(
    settings={
        "env": "toy",
        "engine": "toy 1",
        "frame_size": 16,
        "frame_skip": 1,
        "action_names": ["noop", "left", "right"],
    },
    frames_per_second=8.0,
    variables=("angle",),
    policy="random",
    split="train",
    seed=0,
)


def make_episode(
    steps: int, *, size: int = 16, seed: int = 0, terminated: bool = False, final_action: int | None = None
) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        frames=rng.integers(0, 256, (steps + 1, size, size, 3), dtype=np.uint8),
        actions=rng.integers(0, 3, steps),
        rewards=rng.normal(size=steps).astype(np.float32),
        terminated=terminated,
        truncated=not terminated,
        variables={"angle": rng.normal(size=steps + 1)},
        seed=seed,
        final_action=final_action,
        final_reward=0.0 if final_action is None else 2.5,
    )


def make_dataset(path: Path, episodes: list[Episode]) -> EpisodeDataset:
    path.mkdir(parents=True, exist_ok=True)
    write_info(path, INFO)
    for index, episode in enumerate(episodes):
        append_record(path, write_episode(path, index, episode, info=INFO))
    return EpisodeDataset(path)


def assert_same(one: Episode, two: Episode) -> None:
    for name in ("frames", "actions", "rewards"):
        first, second = getattr(one, name), getattr(two, name)
        assert first.dtype == second.dtype
        assert np.array_equal(first, second)
    for name in ("terminated", "truncated", "seed", "final_action", "final_reward", "is_complete"):
        assert getattr(one, name) == getattr(two, name)
    assert one.variables.keys() == two.variables.keys()
    assert all(np.array_equal(one.variables[name], two.variables[name]) for name in one.variables)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.integers(0, 70),
    size=st.sampled_from([4, 16]),
    seed=st.integers(0, 2**31),
    ended=st.booleans(),
    final=st.sampled_from([None, 0, 2]),
)
def test_what_is_written_is_what_is_read(
    tmp_path: Path, steps: int, size: int, seed: int, ended: bool, final: int | None
) -> None:
    """Writing and reading an episode of any length is the identity, value and type, with and without a final step."""
    episode = make_episode(steps, size=size, seed=seed, terminated=ended, final_action=final)
    dataset = make_dataset(Path(tempfile.mkdtemp(dir=tmp_path)), [episode])
    assert_same(dataset.episode(0), episode)
    assert np.array_equal(dataset.actions(0), episode.actions)
    assert dataset.lengths.tolist() == [steps + 1]
    for name in ("actions", "rewards", "terminated", "truncated"):
        assert np.array_equal(getattr(dataset.steps(0), name), getattr(episode.steps, name))
    assert len(episode.steps.actions) == steps + (final is not None)


def test_older_vizdoom_files_do_not_say_which_step_ended_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file from before final steps is read; its last action, after which a frame was shown, ended nothing."""
    settings = {**INFO.settings, "env": "VizdoomBasic-v1"}
    older = replace(INFO, settings=settings)
    monkeypatch.setattr(storage, "FINAL_STEP", {})
    write_info(tmp_path, older)
    append_record(tmp_path, write_episode(tmp_path, 0, make_episode(20, terminated=True), info=older))
    dataset = EpisodeDataset(tmp_path)
    assert dataset.episode(0).terminated
    assert not dataset.episode(0).is_complete
    assert not dataset.steps(0).terminated.any()
    assert not dataset.episode(0).steps.terminated.any()
    assert len(dataset.steps(0).actions) == 20


def test_any_window_is_the_slice_of_its_episode(tmp_path: Path) -> None:
    """Every window, across row groups or not, is the slice of its own episode; none crosses into the next."""
    episodes = [make_episode(steps, size=4, seed=steps) for steps in (0, 15, 16, 40)]
    dataset = make_dataset(tmp_path, episodes)
    for index, episode in enumerate(episodes):
        count = len(episode.frames)
        for start in range(count):
            for stop in (start + 1, min(start + 17, count), count):
                assert np.array_equal(dataset.frames(index, start, stop), episode.frames[start:stop])
        for start, stop in ((0, count + 1), (-1, 1), (count, count), (1, 1)):
            with pytest.raises(ValueError, match="has frames"):
                dataset.frames(index, start, stop)


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    """Windows read by eight threads at once are those read one after another."""
    episode = make_episode(60, size=16)
    dataset = make_dataset(tmp_path, [episode])
    starts = [int(start) for start in np.random.default_rng(0).integers(0, 50, 200)]
    with ThreadPoolExecutor(8) as pool:
        windows = list(pool.map(lambda start: dataset.frames(0, start, start + 10), starts))
    assert all(np.array_equal(w, episode.frames[s : s + 10]) for w, s in zip(windows, starts, strict=True))


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """A bit flipped anywhere in the frames of a file is an error when read, and `verify` finds one anywhere at all."""
    dataset = make_dataset(tmp_path, [make_episode(40)])
    file = dataset.path / dataset.records[0].file
    content = file.read_bytes()
    frames_end = 40 * 16 * 16 * 3  # random frames do not compress: the first part of the file is frames
    rng = np.random.default_rng(0)
    for number in range(200):
        place = int(rng.integers(4, frames_end if number % 2 else len(content)))
        broken = bytearray(content)
        broken[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(broken)
        assert dataset.verify(0) == f"{file.name}: SHA-256 does not match the manifest"
        if number % 2:
            with pytest.raises(ValueError, match="cannot read"):
                EpisodeDataset(tmp_path).episode(0)
    file.write_bytes(content)
    assert dataset.verify(0) is None


def test_cut_off_or_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    """A truncated file at any length, and a missing one, give one line that names the file."""
    dataset = make_dataset(tmp_path, [make_episode(20)])
    file = dataset.path / dataset.records[0].file
    content = file.read_bytes()
    for size in (0, 3, 8, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match=file.name):
            EpisodeDataset(tmp_path).episode(0)
        assert dataset.verify(0)
    file.unlink()
    with pytest.raises(ValueError, match=file.name):
        dataset.frames(0, 0, 1)
    assert "No such file" in str(dataset.verify(0))


def test_swapped_files_are_found(tmp_path: Path) -> None:
    """A file that is intact but another episode's does not pass for this one."""
    dataset = make_dataset(tmp_path, [make_episode(20), make_episode(30)])
    (tmp_path / dataset.records[1].file).replace(tmp_path / dataset.records[0].file)
    assert dataset.verify(0)
    with pytest.raises(ValueError, match="31 frames, 21 in the manifest"):
        dataset.frames(0, 0, 1)


def test_complete_file_without_its_line_is_adopted(tmp_path: Path) -> None:
    """The line of an adopted file is the one that its writer would have written; other data sets' files are not."""
    record = write_episode(tmp_path, 3, make_episode(20, seed=9), info=INFO)
    assert adopt_episode(tmp_path, 3, info=INFO) == record
    assert adopt_episode(tmp_path, 4, info=INFO) is None
    assert adopt_episode(tmp_path, 3, info=replace(INFO, policy="explore")) is None
    file = tmp_path / record.file
    file.write_bytes(file.read_bytes()[:-1])
    assert adopt_episode(tmp_path, 3, info=INFO) is None


def test_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full the episode is not there at all, and the one that was there before is intact."""
    record = write_episode(tmp_path, 0, make_episode(20), info=INFO)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for index in (0, 1):
        with pytest.raises(OSError, match="No space left"):
            write_episode(tmp_path, index, make_episode(30), info=INFO)
    assert [file.name for file in tmp_path.iterdir()] == [record.file]
    assert adopt_episode(tmp_path, 0, info=INFO) == record


def test_lengths_that_do_not_fit_are_refused() -> None:
    """T+1 frames have T actions: an episode that is one off cannot be made."""
    episode = make_episode(5)
    for wrong in ({"actions": np.zeros(6, np.int64)}, {"rewards": np.zeros(4)}, {"variables": {"angle": np.zeros(5)}}):
        with pytest.raises(ValueError, match="do not fit 6 frames"):
            replace(episode, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="uint8"):
        replace(episode, frames=episode.frames.astype(np.float32))


def sign(path: Path, index: int, table: pa.Table) -> EpisodeDataset:
    """Put other rows into an episode's file, and their SHA-256 into the manifest, as whoever forges it would."""
    file = path / f"episode-{index:06d}.parquet"
    pq.write_table(table, file, row_group_size=ROW_GROUP, compression="zstd", write_page_checksum=True)
    records = read_records_unchecked(path)
    records[index]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (path / EPISODES_FILE).write_text("".join(json.dumps(record) + "\n" for record in records))
    return EpisodeDataset(path)


def read_records_unchecked(path: Path) -> list[dict[str, Any]]:
    lines = (path / EPISODES_FILE).read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "check"} for line in lines]


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("action", 3, 3, "an action is 3; the data set has actions 0 to 2"),
        ("action", 0, -1, "an action is -1"),
        ("action", 0, None, "the column action has a gap"),
        ("reward", 2, None, "the column reward has a gap"),
        ("angle", 2, None, "the column angle has a gap"),
        ("angle", 17, float("nan"), "angle is not finite in frame 17"),
        ("angle", 4, float("-inf"), "angle is not finite in frame 4"),
        ("frame", 1, None, "a frame is missing"),
    ],
)
def test_forged_rows_are_refused(column: str, row: int, value: Any, message: str, tmp_path: Path) -> None:
    """Actions that nobody has a name for, and gaps, in a file with its right SHA-256: inspect finds them, too."""
    make_dataset(tmp_path, [make_episode(20)])
    table = pq.read_table(tmp_path / "episode-000000.parquet")
    values = table[column].to_pylist()
    values[row] = value
    field = table.schema.get_field_index(column)
    forged = pa.array(values, table[column].type)
    dataset = sign(tmp_path, 0, table.set_column(field, table.schema.field(column), forged))
    with pytest.raises(ValueError, match=message):
        dataset.episode(0)
    if column == "action":
        with pytest.raises(ValueError, match=message):
            dataset.actions(0)
    if column != "frame":  # frames are judged when they are read: inspect does not decompress them
        assert message in (dataset.verify(0) or "")


@pytest.mark.parametrize("row", [0, 7, 16, 39])
def test_a_pose_that_is_no_number_is_not_recorded(row: int, tmp_path: Path) -> None:
    """Whoever writes episodes, recorder or import, is told the game, the episode and the frame; no file is left."""
    episode = make_episode(40)
    episode.variables["angle"][row] = np.nan
    with pytest.raises(ValueError, match=f"toy, episode 3: angle is not finite in frame {row}; "):
        write_episode(tmp_path, 3, episode, info=INFO)
    assert not list(tmp_path.iterdir())


def test_other_variables_may_be_unknown(tmp_path: Path) -> None:
    """A game may have variables of its own that are NaN at times; only the pose is computed with."""
    info = replace(INFO, variables=("ammo",))
    write_info(tmp_path, info)
    episode = replace(make_episode(2), variables={"ammo": np.array([1.0, np.nan, 2.0])})
    append_record(tmp_path, write_episode(tmp_path, 0, episode, info=info))
    assert np.isnan(EpisodeDataset(tmp_path).variables(0)["ammo"][1])


def test_one_huge_row_group_is_refused(tmp_path: Path) -> None:
    """A small file that would become gigabytes at once is judged by its footer."""
    make_dataset(tmp_path, [make_episode(20)])
    table = pq.read_table(tmp_path / "episode-000000.parquet")
    dataset = make_dataset(tmp_path / "other", [make_episode(20)])
    pq.write_table(table, tmp_path / "other" / "episode-000000.parquet")
    with pytest.raises(ValueError, match="a row group has 21 frames, not 16 at most"):
        dataset.frames(0, 0, 1)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    """It would be waited for: the episode is refused, by inspect too."""
    dataset = make_dataset(tmp_path, [make_episode(3)])
    file = tmp_path / "episode-000000.parquet"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match="is no regular file"):
        dataset.episode(0)
    assert "is no regular file" in (dataset.verify(0) or "")
