"""Answers as tables, plots, the report page, the documentation, and side by side."""
