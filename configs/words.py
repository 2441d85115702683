"""Ten output layers that predict the next word of Python's standard library.

Command:   python -m experiments compare configs/words.py
Hardware:  2 cores of an AMD EPYC
Time:      9 min 53 s
Result:    3.4 million words, a vocabulary of 20,000; 500 steps of 256 words at the rate that each
           head chose of 0.03, 0.095 and 0.3, which is 0.095 for all; 3 seeds, simultaneous 95%
           intervals. full softmax: a test NLL of 5.847 +- 0.016. No difference shown: fused (-0.000
           +- 0.000), sampled (+0.031 +- 0.039), the clustered tree (-0.003 +- 0.052). Worse: nce
           +0.064 +- 0.041, adaptive +0.064 +- 0.017, differentiated +0.115 +- 0.008, balanced
           +0.178 +- 0.092, huffman +0.207 +- 0.058, negative +0.290 +- 0.045. To full's validation
           NLL after half of its steps: clustered takes 0.017 of full's time (0.008 to 0.033),
           sampled 0.021 (0.007 to 0.058), nce 0.026 (0.010 to 0.067), balanced 0.033, adaptive
           0.082, differentiated 0.86, fused 0.88 (0.78 to 0.99). A step over 1,000,000 synthetic
           words takes 0.7 ms with negative, 1.1 with sampled, 2.7 with huffman and 191 with
           adaptive; full takes 331 ms over 100,000.
"""

from experiments.words.config import WordsConfig


def get_config() -> WordsConfig:
    """Returns the config of the comparison on the next word."""
    return WordsConfig()
