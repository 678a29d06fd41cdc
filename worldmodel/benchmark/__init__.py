"""How fast a simulator imagines, and what the machine would allow."""
