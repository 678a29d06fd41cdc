"""Clips and the code cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import worldmodel.training.data
from tests.models import tiny_tokenizer
from tests.worlds import record_toy
from worldmodel.rollouts import EpisodeDataset
from worldmodel.training.data import (
    CodeClips,
    FrameClips,
    Windows,
    _reserve,
    cache_directory,
    cached_codes,
    first_episodes,
    fitting_clip,
    held_out_clips,
    split_episodes,
    with_progress,
)


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8), clip=st.integers(1, 6), seed=st.integers(0, 1000))
def test_no_window_crosses_an_episode(lengths: list[int], clip: int, seed: int) -> None:
    """Every place is a whole clip inside one episode, each place occurs once, and all of them occur."""
    array = np.array(lengths)
    if array.max() < clip:
        with pytest.raises(ValueError, match=f"no episode has {clip} frames"):
            Windows.over(array, np.arange(len(array)), clip=clip)
        return
    windows = Windows.over(array, np.arange(len(array)), clip=clip)
    places = [windows[i] for i in range(len(windows))]
    expected = [(e, s) for e, length in enumerate(lengths) for s in range(length - clip + 1)]
    assert places == expected
    assert set(windows.draw(np.random.default_rng(seed), 5)) <= set(expected)
    assert set(windows.spread(3)) <= set(expected)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=120), clip=st.integers(1, 12))
def test_held_out_episodes_are_not_trained_on(lengths: list[int], clip: int) -> None:
    """Training and held-out episodes share none, cover all that are long enough, and neither is empty; a single long
    episode has to be both. Where all are long enough, every fiftieth is held out."""
    array = np.array(lengths)
    if array.max() < clip:
        with pytest.raises(ValueError, match="no episode has"):
            split_episodes(array, clip=clip)
        return
    training, held_out = split_episodes(array, clip=clip)
    long = np.flatnonzero(array >= clip).tolist()
    assert len(training)
    assert len(held_out)
    if len(long) > 1:
        assert sorted([*training, *held_out]) == long
    if len(long) == len(lengths) > 50:
        assert held_out.tolist() == list(range(49, len(lengths), 50))


def test_clips_fit_the_episodes(capsys: pytest.CaptureFixture[str]) -> None:
    """A clip is no longer than the longest episode; what is left out is said; one frame is nothing to learn from."""
    assert fitting_clip(np.array([30, 30, 6]), 11) == 11
    assert capsys.readouterr().err == "1 of 3 episodes are shorter than a clip of 11 frames: left out\n"
    assert fitting_clip(np.array([4, 4]), 11) == 4
    assert capsys.readouterr().err == "clips have 4 frames instead of 11: no episode is longer\n"
    assert fitting_clip(np.array([20, 30]), 11) == 11
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="no episode has two frames"):
        fitting_clip(np.array([1, 1]), 11)


def test_a_read_only_data_set_is_encoded_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes lie beside the data where that can be written or they are complete there, else in the run's folder."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=2))
    tokenizer, out = tiny_tokenizer(), tmp_path / "out"
    assert cache_directory(dataset, tokenizer, out) == tmp_path / "data" / "codes"
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_: False)
        assert cache_directory(dataset, tokenizer, out) == out / "codes"
        cached_codes(dataset, tokenizer, directory=tmp_path / "data" / "codes", episodes=1)
        assert cache_directory(dataset, tokenizer, out) == out / "codes"
        cached_codes(dataset, tokenizer, directory=tmp_path / "data" / "codes")
        assert cache_directory(dataset, tokenizer, out) == tmp_path / "data" / "codes"


def test_a_full_disk_is_said_before_anything_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache's blocks are allocated when it is made: a clear error, nothing left, and not a killed process."""

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=2))
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    with pytest.raises(OSError, match=r"No space left on device: the codes of the data set take \d+\.\d MiB"):
        cached_codes(dataset, tiny_tokenizer(), directory=tmp_path / "codes")
    assert not list((tmp_path / "codes").iterdir())


@pytest.mark.parametrize("has_system_call", [True, False])
def test_the_cache_has_no_holes(has_system_call: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the file is there, with or without the system call, and the array is what it was made as."""
    if not has_system_call:
        monkeypatch.delattr(os, "posix_fallocate")
    _reserve(tmp_path / "x.npy", (300, 40, 50), np.uint16)
    facts = (tmp_path / "x.npy").stat()
    assert facts.st_blocks * 512 >= facts.st_size
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert (array.shape, array.dtype, int(array.sum())) == ((300, 40, 50), np.uint16, 0)


def test_a_long_job_shows_life(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is no terminal, a line now and then says how far it is; an invisible process says nothing."""
    monkeypatch.setattr(worldmodel.training.data, "LINE_EVERY_SECONDS", 0.0)
    assert list(with_progress([5, 6, 7], "encoding episodes", visible=True)) == [5, 6, 7]
    assert "encoding episodes: 1 of 3\nencoding episodes: 2 of 3\n" in capsys.readouterr().err
    assert list(with_progress([5, 6], "encoding episodes", visible=False)) == [5, 6]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("minutes", "asked"), [(0.35, 3), (1.0, 3), (5.0, 10), (12.0, 24), (600.0, 24)])
def test_a_short_run_asks_about_few_clips(minutes: float, asked: int) -> None:
    """A minute's run is not followed by ten of asking; a long one asks about all."""
    assert held_out_clips(24, minutes) == asked


def test_code_clips_align_with_frames(tmp_path: Path) -> None:
    """A clip's codes are those of the frames at that place, and its actions those taken between them."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = tiny_tokenizer()
    codes = cached_codes(dataset, tokenizer, directory=tmp_path / "codes")
    clips = CodeClips(dataset, codes, clip=4)
    frames = FrameClips(dataset, clip=4)
    for place in ((0, 0), (1, 3), (3, 5)):
        read, actions = clips.read([place])
        episode = dataset.episode(place[0])
        expected = episode.frames[place[1] : place[1] + 4]
        np.testing.assert_array_equal(frames.read([place])[0], expected)
        np.testing.assert_array_equal(actions[0], episode.actions[place[1] : place[1] + 3])
        with torch.autocast("cpu", torch.bfloat16, enabled=False):
            direct = tokenizer.encode(expected[None])
        # The cache is computed in the machine's fast number format, so a few codes may differ.
        assert (read == direct).float().mean() > 0.9


def test_codes_are_computed_once_and_go_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted computation keeps finished episodes; a finished one is not repeated; the result is the same."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = tiny_tokenizer()
    whole = np.array(cached_codes(dataset, tokenizer, directory=tmp_path / "whole"))
    encode_episode = worldmodel.training.data._encode_episode
    encoded: list[int] = []

    def counted(dataset: EpisodeDataset, tokenizer: object, index: int, codes: np.ndarray) -> None:
        if index == 2 and 2 not in encoded:
            encoded.append(2)
            raise KeyboardInterrupt
        encoded.append(index)
        encode_episode(dataset, tokenizer, index, codes)  # type: ignore[arg-type]

    monkeypatch.setattr(worldmodel.training.data, "_encode_episode", counted)
    with pytest.raises(KeyboardInterrupt):
        cached_codes(dataset, tokenizer, directory=tmp_path / "parts")
    parts = np.array(cached_codes(dataset, tokenizer, directory=tmp_path / "parts"))
    cached_codes(dataset, tokenizer, directory=tmp_path / "parts")
    assert encoded == [0, 1, 2, 2, 3]
    np.testing.assert_array_equal(parts, whole)


def test_only_the_episodes_asked_for_are_encoded(tmp_path: Path) -> None:
    """With a number of episodes, the rest stays zero until it is asked for, and no clip comes from the rest."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = tiny_tokenizer()
    first = int(dataset.lengths[:3].sum())
    part = np.array(cached_codes(dataset, tokenizer, directory=tmp_path / "codes", episodes=3))
    assert part[:first].any()
    assert not part[first:].any()
    clips = CodeClips(dataset, part, clip=4, episodes=3)
    assert {clips.training[i][0] for i in range(len(clips.training))} == {0, 1}
    whole = np.array(cached_codes(dataset, tokenizer, directory=tmp_path / "codes"))
    np.testing.assert_array_equal(whole[:first], part[:first])
    assert whole[first:].any()
    with pytest.raises(ValueError, match="has 4 episodes"):
        first_episodes(dataset, 5)


def test_another_tokenizer_has_another_cache(tmp_path: Path) -> None:
    """Codes of one tokenizer are never taken for another's."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    first, second = tiny_tokenizer(), tiny_tokenizer()
    second.codebook.vectors = torch.flip(second.codebook.vectors, [0])
    codes = [np.array(cached_codes(dataset, t, directory=tmp_path / "codes")) for t in (first, second)]
    np.testing.assert_array_equal(codes[0], 15 - codes[1].astype(int))


def test_previous_frames_are_the_ones_before(tmp_path: Path) -> None:
    """`previous` gives frame t-1 for each frame t of a clip; before an episode's first frame stands its second."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=2))
    clips = FrameClips(dataset, clip=3)
    first, later = clips.previous([(0, 0), (0, 2)])
    frames = dataset.frames(0, 0, 5)
    np.testing.assert_array_equal(later, frames[1:4])
    np.testing.assert_array_equal(first, frames[[1, 0, 1]])
    single = FrameClips(dataset, clip=1)
    np.testing.assert_array_equal(single.previous([(0, 0), (0, 3)]), frames[[[1], [2]]])
