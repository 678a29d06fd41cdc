"""What the columns of an episode's table hold; a table that no recorder wrote is a ValueError."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from .episode import Episode, Steps, check_pose

METADATA_KEY = b"worldmodel"
STEP_COLUMNS = ("action", "reward", "terminated", "truncated")


def steps(table: pa.Table, schema: pa.Schema, env: str) -> Steps:
    """Return actions, rewards and ends, with the step that showed no frame."""
    count = len(table) - int(table["action"][-1].as_py() is None)
    whole = is_complete(schema, env)
    return Steps.join(
        numbers("action", table["action"].slice(0, count), np.int64),
        numbers("reward", table["reward"].slice(0, count), np.float32),
        terminated=bool(table["terminated"][-1].as_py()) and whole,
        truncated=bool(table["truncated"][-1].as_py()) and whole,
    )


def is_complete(schema: pa.Schema, env: str) -> bool:
    """Whether the step that ended the game was recorded; older files of ViZDoom lack it."""
    return "final_step" in json.loads(schema.metadata[METADATA_KEY]) or not env.startswith("Vizdoom")


def decode(table: pa.Table, schema: pa.Schema, *, seed: int, env: str) -> Episode:
    """Return the whole episode."""
    fixed = ("frame", *STEP_COLUMNS)
    final_action, final_reward = table["action"][-1].as_py(), table["reward"][-1].as_py()
    return Episode(
        frames=frames(table, schema),
        actions=between(table, "action", np.int64),
        rewards=between(table, "reward", np.float32),
        terminated=bool(table["terminated"][-1].as_py()),
        truncated=bool(table["truncated"][-1].as_py()),
        variables=variables(table, [name for name in table.column_names if name not in fixed]),
        seed=seed,
        final_action=final_action,
        final_reward=final_reward or 0.0,
        is_complete=is_complete(schema, env),
    )


def frames(table: pa.Table, schema: pa.Schema) -> np.ndarray:
    """Return the frame column as uint8 (t, H, W, 3), a view where Arrow gave one piece."""
    described = json.loads(schema.metadata[METADATA_KEY])
    height, width = described["height"], described["width"]
    pieces = []
    for chunk in table["frame"].chunks:
        size = chunk.type.byte_width
        if chunk.null_count:
            raise ValueError("a frame is missing")
        if size != height * width * 3:
            raise ValueError(f"a frame has {size} bytes, which are not {height}x{width}x3")
        data = np.frombuffer(chunk.buffers()[1], np.uint8, count=len(chunk) * size, offset=chunk.offset * size)
        pieces.append(data.reshape(-1, height, width, 3))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def between(table: pa.Table, name: str, dtype: type[np.generic]) -> np.ndarray:
    """Return a column of what led from one frame to the next, without the last row's."""
    column = table[name]
    return numbers(name, column.slice(0, len(column) - 1), dtype)


def numbers(name: str, column: pa.ChunkedArray, dtype: type[np.generic]) -> np.ndarray:
    """Return a column without gaps."""
    if column.null_count:
        raise ValueError(f"the column {name} has a gap")
    return column.to_numpy().astype(dtype)


def variables(table: pa.Table, names: list[str]) -> dict[str, np.ndarray]:
    """Return the game variables, float64 (T+1,) each; a pose among them is finite."""
    values = {name: numbers(name, table[name], np.float64) for name in names}
    check_pose(values)
    return values
