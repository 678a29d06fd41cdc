"""The questions that `worldmodel evaluate` asks, one module each with a function `measure`.

`evaluation/harness/run.py` lists them: a new question is a module here and a line there.
"""
