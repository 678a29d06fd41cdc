"""A learned map of a world that is the same in every episode: one model of what the next frame looks like."""
