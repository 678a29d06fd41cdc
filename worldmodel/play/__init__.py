"""Play the world model with one's own keys: a game, what it is told, and the page that shows it."""
