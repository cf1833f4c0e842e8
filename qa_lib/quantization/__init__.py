"""The fake quantizers, and the model that has them behind its layers."""
