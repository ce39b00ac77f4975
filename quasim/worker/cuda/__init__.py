"""The GPU desk of a worker process: PyTorch and the CUDA driver are used here, and nowhere else in the engine."""
