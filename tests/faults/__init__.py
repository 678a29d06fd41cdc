"""What is promised of faults, tried and counted: `python -m tests.faults` measures, the tests run a short version."""
