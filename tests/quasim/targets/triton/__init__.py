"""Tests of the Triton target."""
