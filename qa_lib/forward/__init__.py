"""The same forward pass, faster, bit for bit."""
