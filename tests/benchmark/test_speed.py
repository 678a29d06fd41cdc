"""The parts of an imagined frame: their time, their FLOPs and their bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy, tiny_simulator
from worldmodel.benchmark import speed
from worldmodel.benchmark.roofline import Ceilings
from worldmodel.imagination.sources import Context, Source, load_context
from worldmodel.learned_map.map import LearnedMap
from worldmodel.simulator import Simulator
from worldmodel.video.mp4 import VideoWriter


@pytest.fixture(params=[False, True], ids=["without map", "with map"])
def simulator(request: pytest.FixtureRequest) -> Simulator:
    return tiny_simulator(has_map=request.param)


@pytest.fixture
def context(simulator: Simulator, tmp_path: Path) -> Context:
    source = Source.parse(str(record_toy(tmp_path / "d")))
    return load_context(source, simulator, num_frames=simulator.window, horizon=0, seed=0)


def test_parts_are_the_whole(simulator: Simulator, context: Context) -> None:
    """Context, waves and decoding together are all the time from each step's call to its frame; warm-up is left out."""
    clock, frames = speed.imagine_steps(simulator, context, batch=2, steps=5)
    assert frames.shape == (5, 32, 32, 3)
    assert len(clock.latencies()) == 5
    assert sum(clock.parts().values()) == pytest.approx(sum(clock.latencies()))
    assert min(clock.parts().values()) > 0


def test_the_clock_leaves_no_trace(simulator: Simulator, context: Context) -> None:
    """Afterwards the simulator's own methods are back, so that nothing is timed twice."""
    before = set(vars(simulator))
    clock, _ = speed.imagine_steps(simulator, context, batch=1, steps=4)
    assert set(vars(simulator)) == before
    simulator.step(torch.zeros(1, dtype=torch.int64))
    assert len(clock.seconds["step"]) == 4


def test_timing_changes_no_code(simulator: Simulator, context: Context) -> None:
    """The frames are those that are imagined when nobody looks at the clock."""
    _, first = speed.imagine_steps(simulator, context, batch=1, steps=4)
    _, again = speed.imagine_steps(simulator, context, batch=1, steps=4)
    assert (first == again).all()


def test_growth_is_a_ratio(simulator: Simulator, context: Context) -> None:
    """Both kinds of growth are times over times of the same work."""
    assert 0.05 < speed.horizon_growth(simulator, context, steps=16) < 20
    assert 0.05 < speed.window_growth(simulator, context) < 20


def test_flops_of_the_waves_by_hand(simulator: Simulator) -> None:
    """The decoder's FLOPs are its linear layers over every position, the logit bias of a map, and little else."""
    flops = speed.frame_flops(simulator)["waves"]
    decoder, config = simulator.dynamics.decoder, simulator.dynamics.config
    linear = sum(layer.weight.numel() for layer in decoder.modules() if isinstance(layer, torch.nn.Linear))
    linear -= decoder.head.auxiliary.weight.numel()  # training only
    linear += (config.codes_per_patch - 1) * decoder.head.from_flow.weight.numel()  # once a code
    table = decoder.head.table.numel() * config.codes_per_patch
    attention = 2 * config.num_patches * config.decoder_dim * config.decoder_layers
    bias = config.codes_per_patch * simulator.dynamics.code_appearance.numel() if simulator.use_map else 0
    assert flops == 2 * config.num_patches * (linear + table + attention + bias)


def test_weights_read(simulator: Simulator) -> None:
    """The decoder's weights are read once a wave, the others once a frame."""
    read = speed.weights_read(simulator)
    decoder = simulator.dynamics.decoder
    count = sum(parameter.numel() for name, parameter in decoder.named_parameters() if "auxiliary" not in name)
    assert read["waves"] == 4 * count * simulator.dynamics.order.num_waves
    parts: tuple[torch.nn.Module, ...] = (simulator.dynamics.context,)
    if isinstance(simulator.learned_map, LearnedMap):
        parts += (simulator.learned_map.field.wall, simulator.learned_map.field.plane)
    assert read["context"] == 4 * sum(parameter.numel() for part in parts for parameter in part.parameters())


def test_roofline_by_hand(simulator: Simulator) -> None:
    """A part that takes as long as the slower of its products and its bytes reaches its roofline."""
    ceilings = Ceilings(bfloat16=1e30, float32=1e9, memory=1e8)
    flops, read = speed.frame_flops(simulator), speed.weights_read(simulator)
    seconds = {part: max(flops[part] / 1e9, read[part] / 1e8) for part in speed.PARTS}
    assert speed.roofline(simulator, seconds, ceilings)["roofline_share"] == pytest.approx(
        dict.fromkeys([*speed.PARTS, "frame"], 1.0)
    )
    doubled = {part: 2 * value for part, value in seconds.items()}
    assert speed.roofline(simulator, doubled, ceilings)["roofline_share"]["frame"] == pytest.approx(0.5)


def test_video_is_written_whole(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed is a real MP4 of every frame, drawn and encoded."""
    written: list[np.ndarray] = []
    encode = VideoWriter.write
    monkeypatch.setattr(VideoWriter, "write", lambda self, frame: (written.append(frame), encode(self, frame)))
    assert speed.video_seconds(context.frames[:3], frames_per_second=8.75) > 0
    assert len(written) == 3
    assert written[0].shape[0] > 4 * 32


def test_codes_are_imagined_without_a_decoder(
    simulator: Simulator, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What agents are trained on decodes nothing, and is measured in seconds of the steps alone."""

    def decode(self: Simulator, codes: torch.Tensor) -> np.ndarray:
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr(Simulator, "decode", decode)
    assert speed.imagine_codes(simulator, context, batch=3, steps=2) > 0
