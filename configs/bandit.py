"""Action selection on the 10-armed testbed."""

from experiments.bandit.config import BanditConfig


def get_config() -> BanditConfig:
    """Returns the config of the comparison on the testbed."""
    return BanditConfig()
