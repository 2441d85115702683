"""Every variant on scikit-learn's 1,797 handwritten digits.

Command:  make compare, or python -m experiments compare configs/digits.py
"""

from experiments.config import Config


def get_config() -> Config:
    """Returns the config of the first comparison."""
    return Config(steps=300, evaluations=15)
