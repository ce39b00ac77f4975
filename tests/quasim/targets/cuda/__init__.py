"""Tests of the CUDA C++ target."""
