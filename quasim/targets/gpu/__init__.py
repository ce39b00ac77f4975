"""What targets of GPUs share: images, facts of architectures, compiling, and the device behind its worker."""
