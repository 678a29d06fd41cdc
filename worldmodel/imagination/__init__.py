"""What the `imagine` command does: a context, a script of actions, the imagined videos, the real future."""
