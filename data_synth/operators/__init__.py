"""Image and video operators."""
