"""A folder that any static host serves: the page, the model as ONNX graphs, the starts, and what runs them."""

from __future__ import annotations

import base64
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..action_names import IDLE
from ..imagination.sources import Context
from ..play.keymap import exclusive, parts
from ..play.library import Loaded
from .context import ContextGraph
from .decoder import DecoderGraph, PictureGraph

SERVED_PAGE = Path(__file__).parents[1] / "play" / "page"
PAGE = Path(__file__).parent / "page"  # replaces the served page's connection, and adds the game
OPSET = 18
SMALLEST_HALF = 1024  # numbers in a weight that is worth a node to widen it


def export_page(loaded: Loaded, out: Path, *, runtime: dict[str, bytes]) -> list[Path]:
    """Write the folder `out` and return its files.

    Args:
        loaded: the checkpoint, on any device, and where its games begin. A learned map is left out.
        out: a new directory.
        runtime: file name -> content of onnxruntime-web, for `out/ort`.

    Raises:
        ValueError: if `out` exists.
    """
    if out.exists():
        raise ValueError(f"{out} exists already: name a new directory")
    dynamics, tokenizer = loaded.simulator.dynamics.cpu(), loaded.simulator.tokenizer.cpu()
    (out / "ort").mkdir(parents=True)
    for name, content in runtime.items():
        (out / "ort" / name).write_bytes(content)
    for file in (*SERVED_PAGE.iterdir(), *PAGE.iterdir()):
        shutil.copyfile(file, out / file.name)
    context = ContextGraph(dynamics)
    write_graph(context, out / "context.onnx")
    write_graph(DecoderGraph(dynamics), out / "decoder.onnx")
    write_graph(PictureGraph(tokenizer), out / "picture.onnx")
    (out / "game.json").write_text(json.dumps(describe(loaded, context), separators=(",", ":")) + "\n")
    return sorted(file for file in out.rglob("*") if file.is_file())


def describe(loaded: Loaded, context: ContextGraph) -> dict[str, Any]:
    """Return what the page has to know: of the game, of the graphs' shapes, and of the starts."""
    config = context.config
    return (
        loaded.describe()
        | key_rules(config.action_names)
        | {
            "checkpoints": [loaded.name],
            "live": None,
            "alone": True,
            "shapes": {
                "window": config.window,
                "slots": context.slots,
                "layers": config.context_layers,
                "patches": config.num_patches,
                "width": config.context_dim,
                "links": config.codes_per_patch,
                "codebook": config.codebook_size,
                "grid": config.code_grid,
                "history": config.action_history,
            },
            "contexts": {start.name: _context(loaded, start.context) for start in loaded.starts},
        }
    )


def key_rules(action_names: Sequence[str]) -> dict[str, Any]:
    """Return what `keymap.choose_action` goes by: each action's buttons, the idle action, and what excludes what."""
    return {
        "parts": [list(parts(name)) for name in action_names],
        "idle": next((index for index, name in enumerate(action_names) if name in IDLE), None),
        "opposites": [list(pair) for pair in exclusive(tuple(action_names))],
    }


def _context(loaded: Loaded, context: Context) -> dict[str, Any]:
    """Return the codes of real frames, uint16 in base64, and the actions between them."""
    codes = loaded.simulator.encode(context.frames[None])[0].cpu().numpy().astype("<u2")
    return {"codes": base64.b64encode(codes.tobytes()).decode(), "actions": [int(action) for action in context.actions]}


def write_graph(graph: ContextGraph | DecoderGraph | PictureGraph, path: Path) -> None:
    """Write a graph as ONNX; weights that half precision holds exactly are stored so."""
    import onnx

    with warnings.catch_warnings(), torch.no_grad():
        # The exporter that traces: of thousands of small nodes the newer one makes minutes, and it needs onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _eval(graph),
            graph.example(),
            path,
            input_names=list(graph.INPUTS),
            output_names=list(graph.OUTPUTS),
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    _store_halves(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _eval(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


def _store_halves(model: Any) -> None:
    """Store weights whose every number is a half's in half precision, each with a node that widens it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        halves = values.astype(np.float16)
        if values.size < SMALLEST_HALF or not np.array_equal(halves.astype(np.float32), values):
            continue
        stored = numpy_helper.from_array(halves, f"{weight.name}.half")
        casts.append(helper.make_node("Cast", [stored.name], [weight.name], to=TensorProto.FLOAT))
        weight.CopyFrom(stored)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
