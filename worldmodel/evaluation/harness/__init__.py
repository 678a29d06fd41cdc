"""What is evaluated, on which clips, in which processes, and where answers are kept."""
