"""Models that run: one session interface over onnxruntime and torch; precision, batches, devices, verification."""
