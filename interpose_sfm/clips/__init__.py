"""Bridging clips, read and checked: who offers them, their files, and where the photos lie in their frames."""
