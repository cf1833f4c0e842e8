"""What is made of a network's outputs."""
