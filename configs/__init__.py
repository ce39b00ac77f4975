"""Configuration files that ship with the project."""
