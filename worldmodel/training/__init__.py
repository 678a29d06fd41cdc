"""Training: one loop for both models."""
