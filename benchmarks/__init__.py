"""Timings that asv follows from commit to commit; never shipped."""
