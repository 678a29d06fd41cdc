"""The questions that `worldmodel evaluate` asks, one module each with a function `measure`."""
