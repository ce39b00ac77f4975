"""The CUDA C++ target: thread programs, printed, compiled by NVRTC on any CPU, measured where there is a GPU."""
