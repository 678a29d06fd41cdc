"""The world model in a page alone: exported to ONNX, it runs in the browser without a server that computes."""
