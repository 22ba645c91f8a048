"""The published tables as recipes, and running them again: `dinoseg reproduce`."""
