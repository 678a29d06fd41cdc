"""Imagined videos: sampled before the first pixel, drawn completely, written only when they are whole."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.worlds import tiny_simulator
from worldmodel.action_script import parse
from worldmodel.imagination.sources import Context
from worldmodel.imagination.videos import DecodedFrames, decibels, imagine_futures, write_videos
from worldmodel.simulator import Simulator
from worldmodel.types import UNKNOWN_ACTION

RNG = np.random.default_rng(0)
CONTEXT = Context(
    frames=RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8),
    actions=RNG.integers(0, 4, 5),
    description={"kind": "noise"},
)


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_no_pixel_before_the_last_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder runs only after the last code is sampled, and each imagined frame is decoded once for all videos."""
    simulator, calls = tiny_simulator(), []
    step, decode = simulator.step, simulator.tokenizer.decode
    monkeypatch.setattr(simulator, "step", lambda actions: calls.append("step") or step(actions))
    monkeypatch.setattr(simulator.tokenizer, "decode", lambda codes: calls.append(codes.shape[1]) or decode(codes))
    futures = imagine_futures(simulator, CONTEXT, parse("forward,left", simulator.action_names), num_steps=20)
    assert calls == ["step"] * 20
    write_videos(simulator, futures, tmp_path, about={})
    assert "step" not in calls[20:]
    assert sorted(calls[20:24]) == [4, 4, 16, 16]
    assert len(calls) <= 28  # the contact sheet, drawn at the end, looks at the frames again


def test_futures_are_those_of_the_simulator() -> None:
    """Videos show what `Simulator.imagine` gives for the same seed, context, actions and batch."""
    simulator = tiny_simulator()
    scripts = parse("forward:2/left,right", simulator.action_names)
    futures = imagine_futures(simulator, CONTEXT, scripts, num_steps=5, seed=3)
    expected = simulator.imagine(
        np.stack([CONTEXT.frames] * 2),
        np.stack([CONTEXT.actions] * 2),
        np.array([[1, 1, 2, 2, 2], [3, 3, 3, 3, 3]]),
        seed=3,
    )
    assert torch.equal(futures.codes.long(), expected.codes)
    for codes, frames in zip(futures.codes, expected.frames, strict=True):
        decoded = DecodedFrames(simulator, CONTEXT.frames, codes)
        assert len(decoded) == 11
        np.testing.assert_array_equal(np.stack(list(decoded)), np.concatenate([CONTEXT.frames, frames]))


def test_none_hides_the_contexts_actions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A video without actions is imagined as the model was trained without them: none in the whole clip."""
    simulator, seen = tiny_simulator(), []
    reset = simulator.reset
    monkeypatch.setattr(simulator, "reset", lambda frames, actions: seen.append(actions) or reset(frames, actions))
    imagine_futures(simulator, CONTEXT, parse("none,left", simulator.action_names), num_steps=2)
    np.testing.assert_array_equal(seen[0], np.stack([np.full(5, UNKNOWN_ACTION), CONTEXT.actions]))


def written(simulator: Simulator, text: str, out: Path, *, real: Sequence[np.ndarray] = (), steps: int = 10) -> object:
    futures = imagine_futures(simulator, CONTEXT, parse(text, simulator.action_names), num_steps=steps)
    return write_videos(simulator, futures, out, real=real, about={"action": text})


def test_what_is_written(tmp_path: Path) -> None:
    """A video for each script, a grid video, a contact sheet and a record, all with context and imagined frames."""
    written(tiny_simulator(), "forward,right", tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "forward.mp4", "imagine.json", "imagine.mp4", "imagine.png", "right.mp4",
    ]  # fmt: skip
    assert {count_frames(path) for path in (tmp_path / "out").glob("*.mp4")} == {16}
    Image.open(tmp_path / "out" / "imagine.png").verify()
    record = json.loads((tmp_path / "out" / "imagine.json").read_text())
    assert record["action"] == "forward,right"
    assert record["context"] == {"kind": "noise", "frames": 6}
    assert [video["actions"] for video in record["videos"]] == [["forward"] * 10, ["right"] * 10]
    assert all((tmp_path / "out" / video["file"]).exists() for video in record["videos"])


def test_real_future_stands_beside(tmp_path: Path) -> None:
    """With the real future each video is twice as wide, the grid video twice as high, and the record has the PSNR."""
    real = [RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8) for _ in range(2)]
    written(tiny_simulator(), "forward,right", tmp_path / "plain")
    written(tiny_simulator(), "forward,right", tmp_path / "real", real=real)
    sizes = {}
    for name in ("plain/forward", "real/forward", "plain/imagine", "real/imagine"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            stream = container.streams.video[0]
            sizes[name] = stream.width, stream.height
            assert stream.frames == 16
    assert sizes["real/forward"][0] > 1.7 * sizes["plain/forward"][0]
    assert sizes["real/forward"][1] == sizes["plain/forward"][1]
    assert sizes["real/imagine"][0] == sizes["plain/imagine"][0]
    assert sizes["real/imagine"][1] > 1.7 * sizes["plain/imagine"][1]
    videos = json.loads((tmp_path / "real" / "imagine.json").read_text())["videos"]
    assert all(len(video["psnr"]) == 10 and 3 < video["psnr"][0] < 12 for video in videos)


def test_many_videos_are_wrapped(tmp_path: Path) -> None:
    """More than four scripts go on in a further row of the grid video."""
    written(tiny_simulator(), "forward,right,left,noop,none", tmp_path, steps=1)
    with av.open(str(tmp_path / "imagine.mp4")) as container:
        stream = container.streams.video[0]
        assert 4 * 140 < stream.width < 5 * 160
        assert 2 * 140 < stream.height < 3 * 190


def test_a_failure_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When drawing fails no final name exists, and what was there before is as it was."""
    written(tiny_simulator(), "forward", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    simulator = tiny_simulator()
    futures = imagine_futures(simulator, CONTEXT, parse("forward,left", simulator.action_names), num_steps=20)
    decode, calls = simulator.decode, []

    def fail_later(codes: torch.Tensor) -> np.ndarray:
        calls.append(codes)
        if len(calls) > 2:
            raise RuntimeError("no memory")
        return decode(codes)

    monkeypatch.setattr(simulator, "decode", fail_later)
    with pytest.raises(RuntimeError, match="no memory"):
        write_videos(simulator, futures, tmp_path, about={})
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if ".partial." not in path.name}
    assert after == before


def test_decibels() -> None:
    """PSNR by hand: an error of 1 everywhere is 48.13 dB, of 255 is 0, none is infinite."""
    black = np.zeros((4, 4, 3), np.uint8)
    assert decibels(black, black + 1) == pytest.approx(48.1308, abs=1e-3)
    assert decibels(black, black + 255) == pytest.approx(0)
    assert decibels(black, black) == math.inf
