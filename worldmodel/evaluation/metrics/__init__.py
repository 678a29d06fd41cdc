"""What is computed from frames, codes and labels: image metrics, scores, probes, intervals."""
