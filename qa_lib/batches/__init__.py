"""Batches of data, and their digests."""
