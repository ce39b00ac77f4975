"""Tests of what GPU targets share."""
