"""Action selection on the 10-armed testbed of Sutton and Barto.

Command:   python -m experiments compare configs/bandit.py
Hardware:  2 cores of an AMD EPYC, shared with other work (a load of 6 to 9 all along)
Time:      2.4 min, of which 64 s of CPU
Result:    2,000 problems of 1,000 steps, 95% intervals. All nine statements of the book on its
           figures 2.2 and 2.4 hold: greedy levels off at a reward of 1.037 +- 0.038, epsilon 0.1
           takes the best action in 79.4 +- 1.9% of the last 100 steps, epsilon 0.01 in 20.1 +- 3.1
           points less, and rising. Regret: softmax at temperature 0.2 145 +- 10, UCB (c = 2)
           150 +- 2, gradient (0.4) 169 +- 11, 1.5-entmax at 0.5 224 +- 15, epsilon 0.1 231 +- 5,
           sparsemax at 1 259 +- 17, greedy 498 +- 25. A cold sparse map gives up actions for good,
           as greedy does; a hot one explores, and softmax at its best temperature is better than
           both maps at theirs.
"""

from experiments.bandit.config import BanditConfig


def get_config() -> BanditConfig:
    """Returns the config of the comparison on the testbed."""
    return BanditConfig()
