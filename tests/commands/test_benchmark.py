"""The benchmark command: medians with their spread, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.play.serving import save_model
from tests.worlds import record_toy, save_simulator
from worldmodel.commands import benchmark, main


def exit_code(words: list[str]) -> int:
    """The exit code also where argparse ends the process."""
    try:
        return main(["benchmark", *words])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_summary_is_the_median_and_its_spread() -> None:
    """The figure of a mode is the median of its first kind; every other kind says how much of it was reached."""
    speeds = {"recording": [70.0, 90.0, 80.0], "bare engine": [100.0, 60.0, 200.0]}
    result = benchmark.summarise("collect", benchmark.Measurement(speeds=speeds, compares=True))
    assert result["frames_per_second"] == 80
    assert result["spread"] == [70, 90]
    assert result["parts"]["bare engine"]["frames_per_second"] == 100
    assert result["parts"]["bare engine"]["own_share"] == pytest.approx(0.8)
    assert result["machine"]["cores"]


def test_collect_compares_with_the_bare_engine(capsys: pytest.CaptureFixture[str]) -> None:
    """One run measures the recording, the engine with the crop and the bare engine, in this order of speed."""
    assert main(["benchmark", "collect", "--episodes", "2", "--workers", "1", "--repeats", "1", "--json", "f"]) == 0
    result = json.loads(Path("f").read_text())
    speeds = {name: part["frames_per_second"] for name, part in result["parts"].items()}
    assert list(speeds) == ["recording", "engine and crop", "bare engine"]
    assert all(speed > 10 for speed in speeds.values())
    assert result["frames_per_second"] == speeds["recording"]
    out = capsys.readouterr().out
    assert all(name in out for name in speeds)


def test_load_reads_windows(tmp_path: Path) -> None:
    """Random windows of a data set are read, by several threads too."""
    record_toy(tmp_path / "d")
    for threads in (1, 3):
        words = ["--data", str(tmp_path / "d"), "--windows", "20", "--threads", str(threads), "--json", "f"]
        assert main(["benchmark", "load", *words]) == 0
        assert json.loads(Path("f").read_text())["frames_per_second"] > 100


TINY_IMAGINE = ["--steps", "4", "--repeats", "2", "--batch", "3", "--json", "f"]
PARTS = {"context", "waves", "decode"}


def test_imagine_explains_where_the_time_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figure is the single video's; shares sum to one, and every part of a frame has its work and its roofline."""
    where = ["--checkpoint", str(save_simulator(tmp_path / "m")), "--from", str(record_toy(tmp_path / "d"))]
    assert main(["benchmark", "imagine", *where, *TINY_IMAGINE, "--starts", "0"]) == 0
    result = json.loads(Path("f").read_text())
    figures = result["figures"]
    assert list(result["parts"]) == ["batch 1", "batch 3"]
    assert result["frames_per_second"] == result["parts"]["batch 1"]["frames_per_second"]
    assert "own_share" not in result["parts"]["batch 3"]
    assert figures["shares"].keys() == {*PARTS, "video"}
    assert sum(figures["shares"].values()) == pytest.approx(1)
    assert figures["latency_ms"]["median"] <= figures["latency_ms"]["p95"]
    assert min(figures["growth"].values()) > 0
    for section in ("gflop", "gflop_per_second", "weights_read_mb", "roofline_share"):
        assert figures[section].keys() == {*PARTS, "frame"}, section
        assert min(figures[section].values()) > 0
    assert figures["settings"]["threads"] == 1
    assert figures["settings"]["dtype"].keys() == PARTS
    assert "start_up_s" not in figures
    assert result["notes"]
    out = capsys.readouterr().out
    assert all(name.replace("_", " ") in out for name in figures)


def test_imagine_counts_games_in_codes(tmp_path: Path) -> None:
    """Beside the video, every number of games asked for is imagined in codes, one as well."""
    where = ["--checkpoint", str(save_simulator(tmp_path / "m")), "--from", str(record_toy(tmp_path / "d"))]
    words = ["--steps", "4", "--repeats", "1", "--batch", "1,3", "--starts", "0", "--json", "f"]
    assert main(["benchmark", "imagine", *where, *words, "--observation", "codes"]) == 0
    parts = json.loads(Path("f").read_text())["parts"]
    assert list(parts) == ["batch 1", "batch 1 in codes", "batch 3 in codes"]
    assert min(part["frames_per_second"] for part in parts.values()) > 0


@pytest.mark.slow
def test_imagine_knows_the_gallery() -> None:
    """A name of the gallery is a checkpoint, and its own episodes are where the context comes from."""
    words = ["--checkpoint", "basic", "--steps", "4", "--repeats", "1", "--batch", "1", "--starts", "0", "--json", "f"]
    assert main(["benchmark", "imagine", *words]) == 0
    assert json.loads(Path("f").read_text())["figures"]["settings"]["checkpoint"].endswith("basic")


@pytest.mark.slow
def test_imagine_times_a_fresh_process(tmp_path: Path) -> None:
    """Help is there before the first finished video, and that before the command ends."""
    where = ["--checkpoint", str(save_simulator(tmp_path / "m")), "--from", str(record_toy(tmp_path / "d"))]
    assert main(["benchmark", "imagine", *where, *TINY_IMAGINE, "--starts", "1"]) == 0
    start_up = json.loads(Path("f").read_text())["figures"]["start_up_s"]
    assert 0 < start_up["help"] < start_up["first_mp4"] <= start_up["command"]
    assert start_up["command_spread"] == [start_up["command"]] * 2


TINY_DYNAMICS = ["context_dim=48", "context_layers=1", "decoder_dim=48", "decoder_layers=1", "chain_dim=8", "clip=3"]


@pytest.mark.parametrize(
    ("stage", "settings"), [("dynamics", TINY_DYNAMICS), ("tokenizer", ["hidden_dim=16", "batch=2"])]
)
def test_train_explains_where_the_time_goes(stage: str, settings: list[str]) -> None:
    """Every step counts; shares sum to one, and utilisation is what is achieved of the ceiling."""
    words = ["--stage", stage, "--steps", "2", "--repeats", "2", "--json", "f"]
    words += [word for setting in settings for word in ("--set", setting)]
    assert main(["benchmark", "train", *words]) == 0
    result = json.loads(Path("f").read_text())
    low, high = result["spread"]
    assert 0 < low <= result["frames_per_second"] <= high
    figures = result["figures"]
    assert list(figures["shares"]) == ["data", "forward", "backward", "optimizer"]
    assert sum(figures["shares"].values()) == pytest.approx(1)
    settings_used = figures["settings"]
    assert (settings_used["batch"], settings_used["clip"]) == ((1, 3) if stage == "dynamics" else (2, 1))
    work = figures["arithmetic"]
    assert work["gflop_per_second"] == pytest.approx(work["gflop_per_frame"] * result["frames_per_second"])
    assert work["mfu"] == pytest.approx(work["gflop_per_second"] / work["ceiling_gflop_per_second"])


def test_train_counts_what_is_trained() -> None:
    """A part that is frozen asks fewer FLOPs: settings of the training reach the model."""
    words = ["benchmark", "train", "--steps", "1", "--repeats", "1", "--json", "f"]
    words += [word for setting in TINY_DYNAMICS for word in ("--set", setting)]
    work = []
    for extra in ([], ["--set", "trained=decoder."]):
        assert main([*words, *extra]) == 0
        work.append(json.loads(Path("f").read_text())["figures"]["arithmetic"]["gflop_per_frame"])
    assert work[1] < 0.9 * work[0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "MODE"),
        (["colect"], 2, "invalid choice"),
        (["collect", "--env", "toy"], 1, "only ViZDoom"),
        (["collect", "--workers", "0"], 1, "at least 1"),
        (["load", "--data", "nowhere"], 1, "no data set"),
        (["load", "--data", "d", "--window", "5000"], 1, "no episode of 5000 frames"),
        (["load", "--data", "d", "--repeats", "0"], 2, "--repeats must be at least 1"),
        (["imagine", "--steps", "3"], 1, "--steps must be at least 4"),
        (["imagine", "--batch", "1,0"], 2, "argument --batch"),
        (["imagine", "--checkpoint", "nowhere"], 1, "no checkpoint at nowhere"),
        (["train", "--steps", "0"], 1, "--steps must be at least 1"),
        (["train", "--set", "widht=3"], 2, "no setting named 'widht'"),
    ],
)
def test_mistakes_get_one_line(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 for the command line, 1 for the rest; one line on stderr."""
    record_toy(Path("d"), episodes=1)
    assert exit_code(words) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_play_measures_what_a_page_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A client over the real WebSocket: the game's rate, the highest rate, and the time from a key to its picture."""
    where = ["--checkpoint", str(save_model(tmp_path / "m")), "--from", str(record_toy(tmp_path / "d"))]
    words = ["--frames", "20", "--repeats", "1", "--view", "both", "--json", "f"]
    assert main(["benchmark", "play", *where, *words]) == 0
    result = json.loads(Path("f").read_text())
    assert result["frames_per_second"] == pytest.approx(8.75, rel=0.25)
    assert result["parts"]["as fast as possible"]["frames_per_second"] > result["frames_per_second"]
    latency = result["figures"]["key_to_picture_ms"]["real time"]
    assert 0 < latency["p50"] <= latency["p95"]
    assert "real time" in capsys.readouterr().out
    assert exit_code(["play", *where, "--frames", "3"]) == 1
