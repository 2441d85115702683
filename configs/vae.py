"""Gradient estimators of a categorical autoencoder on the digits."""

from experiments.vae.config import VaeConfig


def get_config() -> VaeConfig:
    """Returns the config of the comparison of estimators."""
    return VaeConfig()
