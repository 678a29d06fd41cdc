"""The imagine command: what it prints, what it writes, and one clear line for everything it cannot do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.worlds import record_toy, save_simulator
from worldmodel.checkpoints.index import read_index, write_index
from worldmodel.commands import main
from worldmodel.rollouts.lock import locked


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a recorded toy world (`data`) and a checkpoint that fits it (`model`)."""
    path = tmp_path_factory.mktemp("world")
    record_toy(path / "data")
    save_simulator(path / "model")
    return path


def imagine(world: Path, *words: object, data: str = "data", model: str = "model") -> int:
    where = ["--from", world / data, "--checkpoint", world / model]
    return main([str(word) for word in ("imagine", *where, *words)])


def exit_code(world: Path, *words: object) -> int:
    """The exit code also where argparse ends the process."""
    try:
        return imagine(world, *words)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_writes_and_says_where(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file is named on stdout, exists, and every MP4 holds the context and the imagined frames."""
    assert imagine(world, "--context", 6, "--steps", 10, "--action", "forward,right", "--out", tmp_path / "o") == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["forward.mp4", "right.mp4", "imagine.mp4", "imagine.png", "imagine.json"]
    assert lines[:5] == [str(tmp_path / "o" / name) for name in names]
    assert lines[5].startswith("20 frames imagined, ")
    assert "frames/s" in lines[5]
    for name in names[:3]:
        with av.open(str(tmp_path / "o" / name)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 16


def test_a_game_without_forward_is_imagined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --action two actions of the game's own are shown."""
    assert main(["imagine", "--checkpoint", "pong", "--steps", "1", "--out", str(tmp_path / "o")]) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names[:2] == ["left.mp4", "right.mp4"]


def test_another_game_is_said(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames of another game than the checkpoint's are imagined on, and one line on stderr says so."""
    save_simulator(tmp_path / "pong", env="ALE/Pong-v5")
    words = ["--from", world / "data", "--checkpoint", tmp_path / "pong", "--steps", 1, "--out", tmp_path / "o"]
    assert main([str(word) for word in ("imagine", *words)]) == 0
    said = f"{world / 'data'} is of toy, the checkpoint was trained on ALE/Pong-v5; name another unless this is meant"
    assert said in capsys.readouterr().err.splitlines()
    save_simulator(tmp_path / "toy", env="toy")
    words[3] = tmp_path / "toy"
    assert main([str(word) for word in ("imagine", *words)]) == 0
    assert "trained on" not in capsys.readouterr().err


def test_without_its_map(world: Path, tmp_path: Path) -> None:
    """`--no-map` imagines as a checkpoint does that has none, and the record says which it was."""
    save_simulator(tmp_path / "mapped", has_map=True)
    records = []
    for out, words in (("with", []), ("without", ["--no-map"])):
        words = ["--context", 2, "--steps", 3, "--action", "left", "--out", tmp_path / out, *words]
        assert imagine(world, *words, model=str(tmp_path / "mapped")) == 0
        records.append(json.loads((tmp_path / out / "imagine.json").read_text()))
    assert [record["learned_map"] for record in records] == [True, False]


def test_truth_is_the_real_game(world: Path, tmp_path: Path) -> None:
    """--truth replays the recorded game and measures against it."""
    assert imagine(world, "--truth", "--action", "left", "--out", tmp_path / "o") == 0
    (video,) = json.loads((tmp_path / "o" / "imagine.json").read_text())["videos"]
    assert len(video["psnr"]) == 10


def test_same_command_same_record(world: Path, tmp_path: Path) -> None:
    """The same seed gives the same bytes in every video."""
    for name in ("a", "b"):
        assert imagine(world, "--set", "seed=3", "--steps", 3, "--out", tmp_path / name) == 0
    for video in ("forward.mp4", "right.mp4", "imagine.mp4", "imagine.png"):
        assert (tmp_path / "a" / video).read_bytes() == (tmp_path / "b" / video).read_bytes()


def test_settings_reach_the_sampler(world: Path, tmp_path: Path) -> None:
    """`--set` changes how codes are drawn, and the record says how they were."""
    words = ("--steps", 2, "--set", "temperature=0.5", "--set", "top_k=3", "--set", "seed=4", "--out", tmp_path / "o")
    assert imagine(world, *words) == 0
    record = json.loads((tmp_path / "o" / "imagine.json").read_text())
    assert [record[name] for name in ("temperature", "top_k", "seed")] == [0.5, 3, 4]


def test_one_run_a_folder(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While another process writes into --out, a second one is told so and touches nothing."""
    with locked(tmp_path / "o"):
        assert imagine(world, "--steps", 2, "--out", tmp_path / "o") == 1
        assert "another process is writing into" in capsys.readouterr().err
        assert [file.name for file in (tmp_path / "o").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--action", "forwrd"], 2, "no action 'forwrd'; did you mean 'forward'? (actions: noop, forward, left"),
        (["--action", "forward:9/left:2"], 2, "takes 11 steps, but only 10 are imagined"),
        (["--steps", "0"], 2, "--steps must be at least 1, got 0"),
        (["--steps", "1000000000000"], 2, "--steps must be at most 100000"),
        (["--steps", "many"], 2, "invalid int value: 'many'"),
        (["--context", "0"], 2, "--context must be at least 1, got 0"),
        (["--context", "9"], 2, "--context must be at most 8, the model's window, got 9"),
        (["--set", "top_k=-1"], 2, "top_k must be at least 0, got -1"),
        (["--set", "temperature=-1"], 2, "temperature must be 0 or more, got -1.0"),
        (["--set", "temperature=nan"], 2, "temperature must be at most inf, got nan"),
        (["--set", "seed=-1"], 2, "seed must be 0 to 999999, got -1"),
        (["--set", "temprature=1"], 2, "no setting named 'temprature'; did you mean 'temperature'?"),
        (["--truth", "--action", "none"], 2, "--truth needs actions"),
        (["--contxt", "3"], 2, "did you mean --context?"),
        (["--from", "nowhere"], 1, "no data set, episode or video at nowhere"),
        (["--from", "noise.mp4"], 1, "cannot read the video noise.mp4"),
        (["--from", "env:toi"], 1, "did you mean 'toy'"),
        (["--checkpoint", "nowhere"], 1, "checkpoint at nowhere"),
        (["--out", "noise.mp4"], 1, "cannot write to --out noise.mp4: File exists"),
        (["--out", "/proc/x"], 1, "cannot write to --out /proc/x"),
    ],
)
def test_errors(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], code: int, says: str
) -> None:
    """One line on stderr with the value and the remedy, exit code 2 for usage and 1 for the rest, nothing written."""
    (tmp_path / "noise.mp4").write_bytes(b"\0\1\2" * 1000)
    assert exit_code(world, *words) == code
    captured = capfd.readouterr()
    assert says in captured.err
    assert captured.err.startswith("worldmodel imagine: ")
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("damage", ["weights", "config", "tokenizer", "foreign"])
def test_bad_checkpoints(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    """A flipped bit, a config that is no JSON, a missing and a foreign tokenizer are refused with the file's name."""
    model = shutil.copytree(world / "model", tmp_path / "model")
    if damage == "weights":
        weights = next(model.glob("*.safetensors"))
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    if damage == "config":
        (model / "config.json").write_text("{")
    if damage == "tokenizer":
        shutil.rmtree(model / "tokenizer")
    if damage == "foreign":
        index = read_index(model)
        index["config"]["tokenizer"] = "0" * 64
        write_index(model, index)
    assert imagine(world, "--checkpoint", model, "--out", tmp_path / "videos") == 1
    captured = capsys.readouterr()
    assert not (tmp_path / "videos").exists()
    assert str(model) in captured.err
    assert captured.err.count("\n") == 1


WITHOUT_NETWORK = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("a connection was attempted")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from worldmodel.commands import main
code = main(["imagine"])
assert not {"vizdoom", "gymnasium"} & set(sys.modules)
sys.exit(code)
"""


@pytest.mark.slow
def test_shipped_checkpoint_needs_nothing(tmp_path: Path) -> None:
    """`imagine` alone uses what ships with the package: no network, no engine, 16 frames in each MP4."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_NETWORK], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    for name in ("forward", "right", "imagine"):
        with av.open(str(tmp_path / "imagined" / f"{name}.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == 16
