"""Experiments as functions that leave their results on disk: train a net, look at its gradient flow, sweep settings."""
