"""A video world model: it watches a game, learns it, and becomes it."""
