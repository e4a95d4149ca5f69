"""Models that imagine the frames between two photos, and the clips that they make."""
