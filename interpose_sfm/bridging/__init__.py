"""Generators of bridging clips by name; those that morph the photos or read clips on disk."""
