"""What the package asks of pycolmap, and what it keeps in COLMAP databases and models."""
