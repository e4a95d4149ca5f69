"""A folder of files as photos that COLMAP can read."""
