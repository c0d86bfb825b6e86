"""What stands between an encoder and a decoder: codes of several kinds, or a small Gaussian."""
