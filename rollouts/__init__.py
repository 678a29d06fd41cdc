"""Recorded experience: episodes, how they are collected and how they are stored."""
