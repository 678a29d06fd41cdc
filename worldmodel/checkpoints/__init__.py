"""Checkpoint directories: how they are written, indexed, verified, upgraded, and which ones ship."""
