"""Games behind one interface: uint8 frames out, named actions in."""
