"""Action selection on the 10-armed testbed of Sutton and Barto.

Command:   python -m experiments compare configs/bandit.py
Hardware:  2 cores of an AMD EPYC
Time:      63 s
Result:    2,000 test problems of 1,000 steps in 40 groups, 95% intervals. All nine statements of
           the book on its figures 2.2 and 2.4 hold: greedy levels off at a reward of 1.025 +- 0.043
           (simultaneous), epsilon 0.1 takes the best action in 80.2 +- 2.0% of the last 100 steps,
           epsilon 0.01 in 21.8 +- 3.9 points less, and rising. Regret with the parameter chosen on
           250 validation problems: UCB (c = 0.83) 52 +- 2, softmax (temperature 0.27) 139 +- 7,
           gradient (0.19) 141 +- 6, 1.5-entmax (0.95) 212 +- 9, epsilon-greedy (0.05) 214 +- 7,
           sparsemax (1) 266 +- 20; epsilon 0.1 has 233 +- 5, greedy 525 +- 26. A cold sparse map
           gives up actions for good, as greedy does; a hot one explores, and softmax at its best
           temperature is better than both maps at theirs.
"""

from experiments.bandit.config import BanditConfig


def get_config() -> BanditConfig:
    """Returns the config of the comparison on the testbed."""
    return BanditConfig()
