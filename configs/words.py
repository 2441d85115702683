"""Ten output layers that predict the next word of Python's standard library.

Command:   python -m experiments compare configs/words.py
Hardware:  2 cores of an AMD EPYC, shared with other work (a load of 8 to 16 all along)
Time:      stopped once; after it 7 of 10 heads, timing and growth took 20 min, 8.9 min of CPU
Result:    3.4 million words, a vocabulary of 20,000; 500 steps of 256 words at the rate that each
           head chose of 0.03, 0.095 and 0.3, which is 0.095 for all; 3 seeds, simultaneous 95%
           intervals. full softmax: a test NLL of 5.847 +- 0.016. No difference shown: fused
           (-0.000 +- 0.000), sampled (+0.031 +- 0.039), the clustered tree (-0.003 +- 0.052).
           Worse: nce +0.064 +- 0.041, adaptive +0.064 +- 0.017, differentiated +0.115 +- 0.008,
           balanced +0.178 +- 0.092, huffman +0.207 +- 0.058, negative +0.290 +- 0.045.
           Quality is full's validation NLL after half of its steps: sampled takes 0.022 of full's
           time to it (0.003 to 0.146), clustered 0.019 (0.004 to 0.081), nce 0.014 (0.002 to
           0.103). A step over 1,000,000 synthetic words takes 4.1 ms with sampled and 10.7 ms with
           huffman (1.4 and 1.9 over 10,000), full 1.7 s over 100,000: times of a busy machine.
"""

from experiments.words.config import WordsConfig


def get_config() -> WordsConfig:
    """Returns the config of the comparison on the next word."""
    return WordsConfig()
