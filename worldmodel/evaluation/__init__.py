"""Questions asked of a trained world model on held-out recordings, one file each."""
