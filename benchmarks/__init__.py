"""Timings that asv tracks from commit to commit, and commands; not part of the package."""
