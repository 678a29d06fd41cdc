"""The checkpoint and the held-out sample episodes that ship with the package."""
