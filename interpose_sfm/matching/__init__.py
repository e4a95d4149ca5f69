"""Learned features and matches, and the two-view geometry of matches with the evidence for it."""
