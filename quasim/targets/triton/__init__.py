"""The Triton target: GPU kernels emitted from the tile IR, compiled on any CPU, measured where there is a device."""
