"""Conversion: the present layout, smaller weights where asked, and the same model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from tests.worlds import save_simulator
from worldmodel.checkpoints.checkpoint import read, write
from worldmodel.checkpoints.convert import convert
from worldmodel.commands import main
from worldmodel.simulator import Simulator

CODES = torch.randint(16, (1, 3, 8, 8), generator=torch.Generator().manual_seed(0))
ACTIONS = torch.zeros(1, 2, dtype=torch.int64)


def imagined(path: Path) -> torch.Tensor:
    simulator = Simulator.from_pretrained(path, precision="float32")
    simulator.reset_codes(CODES, ACTIONS)
    simulator.seed(0)
    return torch.stack([simulator.step(ACTIONS[:, 0]) for _ in range(3)])


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*.safetensors")}


def test_without_changes_every_file_stays(tmp_path: Path) -> None:
    """Unchanged modules keep their files' names and bytes, and the model imagines the same codes."""
    save_simulator(tmp_path / "a", has_map=True)
    convert(tmp_path / "a", tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert torch.equal(imagined(tmp_path / "a"), imagined(tmp_path / "b"))


def test_modules_are_halved_by_name(tmp_path: Path) -> None:
    """Matrices alone, and not those that decide a motion; other modules keep their files."""
    save_simulator(tmp_path / "a", has_map=True)
    half = "context.,learned_map.recognition,learned_map.motion_model"
    assert main(["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--half", half]) == 0
    dynamics = read(tmp_path / "b", kind="dynamics").tensors
    learned_map = read(tmp_path / "b" / "learned_map", kind="learned_map").tensors
    assert dynamics["context.embed.weight"].dtype == torch.float16
    for exact in ("context.embed.bias", "context.flow.camera", "decoder.features.weight", "code_vectors"):
        assert dynamics[exact].dtype == torch.float32
    assert learned_map["recognition.summary.weight"].dtype == torch.float16
    assert learned_map["motion_model.thrust"].dtype == torch.float32
    before, after = files(tmp_path / "a"), files(tmp_path / "b")
    changed = {name.rpartition("-")[0] for name in before.keys() ^ after.keys()}
    assert changed == {"context", "learned_map/recognition"}
    assert imagined(tmp_path / "b").shape == (3, 1, 8, 8)


def test_modules_are_stored_in_eight_bits_by_name(tmp_path: Path) -> None:
    """The file holds eight bits, who reads it gets single precision; what decides a motion stays exact."""
    save_simulator(tmp_path / "a", has_map=True)
    int8 = "context.,learned_map.field"
    assert main(["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--half", "context.", "--int8", int8]) == 0
    stored = {name: load(data) for name, data in files(tmp_path / "b").items()}
    context = next(tensors for name, tensors in stored.items() if name.startswith("context"))
    assert context["context.embed.weight"].dtype == torch.int8
    assert context["context.flow.camera"].dtype == context["context.embed.bias"].dtype == torch.float32
    before, after = (read(tmp_path / name, kind="dynamics").tensors for name in "ab")
    assert before.keys() == after.keys()
    assert after["context.embed.weight"].dtype == torch.float32
    assert torch.allclose(before["context.embed.weight"], after["context.embed.weight"], atol=0.01)
    assert torch.equal(before["decoder.features.weight"], after["decoder.features.weight"])
    assert imagined(tmp_path / "b").shape == (3, 1, 8, 8)


def test_weights_in_eight_bits_without_their_scales_are_refused(tmp_path: Path) -> None:
    """Whole numbers are never taken for the weights themselves."""
    save_simulator(tmp_path / "a", has_map=False)
    checkpoint = read(tmp_path / "a", kind="dynamics")
    whole = {"decoder.features.weight": checkpoint.tensors["decoder.features.weight"].to(torch.int8)}
    write(tmp_path / "a", dataclasses.replace(checkpoint, tensors=checkpoint.tensors | whole))
    with pytest.raises(ValueError, match=r"decoder.features.weight is not int8 with one scale a row"):
        read(tmp_path / "a", kind="dynamics")


def test_a_halved_tokenizer_still_belongs_to_its_dynamics(tmp_path: Path) -> None:
    """Its fingerprint changes, and is the one that dynamics and map name."""
    save_simulator(tmp_path / "a", has_map=True)
    convert(tmp_path / "a", tmp_path / "b", half=["tokenizer."])
    configs = [read(tmp_path / each / "learned_map", kind="learned_map").config["tokenizer"] for each in ("a", "b")]
    assert configs[0] != configs[1]
    assert Simulator.from_pretrained(tmp_path / "b").has_map


def test_what_cannot_be_converted_is_said(tmp_path: Path) -> None:
    """A name that no weight has, and a checkpoint into itself."""
    save_simulator(tmp_path / "a")
    with pytest.raises(ValueError, match="begins with 'contxt'"):
        convert(tmp_path / "a", tmp_path / "b", half=["contxt"])
    with pytest.raises(ValueError, match="another directory"):
        convert(tmp_path / "a", tmp_path / "a")
