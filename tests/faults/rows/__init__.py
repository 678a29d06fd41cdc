"""The rows of the table, a file for each part of the program."""

from __future__ import annotations

import importlib

PARTS = ("recording", "checkpoints", "training", "long_runs", "commands", "network", "play", "environment")  # in order

for part in PARTS:
    importlib.import_module(f"{__name__}.{part}")
