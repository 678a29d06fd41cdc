"""ViZDoom: the engine as a game, its supervision, its buttons, and how its player moves."""
