"""The bookkeeping of the page's model.js in Python: exported graphs, run by onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


class Player:
    """A game of an exported folder. `noise` gives the uniform numbers of a frame."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        names = ("context", "decoder", "picture")
        self.graphs = {name: onnxruntime.InferenceSession(folder / f"{name}.onnx", options) for name in names}
        self.game: dict[str, Any] = json.loads((folder / "game.json").read_text())
        self.shapes = self.game["shapes"]

    def reset(self, codes: np.ndarray, actions: np.ndarray) -> None:
        """Begin from codes (t g g) and the actions between them (t-1)."""
        shapes = self.shapes
        cache = (shapes["layers"], shapes["slots"], shapes["patches"], shapes["width"])
        self.keys, self.values = np.zeros(cache, np.float32), np.zeros(cache, np.float32)
        self.actions = [len(self.game["actions"])] * shapes["history"]
        self.count, self.previous, self.latest = 0, np.zeros_like(codes[0]), codes[-1]
        for frame, action in zip(codes[:-1], actions, strict=True):
            self.observe(frame, int(action))

    def observe(self, codes: np.ndarray, action: int) -> list[np.ndarray]:
        """Return context and flow features of the next frame."""
        slots = self.shapes["slots"]
        self.actions = [*self.actions[1:], len(self.game["actions"]) if action < 0 else action]
        ages = 1 + (self.count - 1 - np.arange(slots)) % slots
        feed = {
            "codes": np.stack([self.previous, codes]).astype(np.int32),
            "has_previous": np.array([self.count > 0], np.float32),
            "actions": np.array(self.actions, np.int32),
            "keys": self.keys,
            "values": self.values,
            "ages": np.where(ages > self.count, self.shapes["window"], ages).astype(np.float32),
        }
        context, flow, keys, values = self.graphs["context"].run(None, feed)
        self.keys[:, self.count % slots], self.values[:, self.count % slots] = keys, values
        self.previous, self.count = codes, self.count + 1
        return [context, flow]

    def step(self, action: int, uniform: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Return the codes (g g) of the frame that follows."""
        context, flow = self.observe(self.latest, action)
        feed = {
            "context": context,
            "flow": flow,
            "uniform": uniform,
            "temperature": np.array([temperature], np.float32),
        }
        self.latest = self.graphs["decoder"].run(None, feed)[0]
        return self.latest

    def draw(self, codes: np.ndarray) -> np.ndarray:
        """Return the frame uint8 (H W 3) of codes (g g)."""
        frame: np.ndarray = self.graphs["picture"].run(None, {"codes": codes.astype(np.int32)})[0]
        return frame
