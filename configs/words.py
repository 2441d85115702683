"""Ten output layers that predict words of Python's standard library.

Command:   python -m experiments compare configs/words.py
Hardware:  2 cores of an AMD EPYC, shared with other work (a load of 4 to 9 all along)
Time:      22 min, of which 15 min of CPU
Result:    3.4 million words, 119,698 of them different; a vocabulary of 20,000. ngram, 500 steps of
           256 words: full softmax reaches a test NLL of 5.841 +- 0.017 (3 seeds, 95% intervals).
           fused is the same to 3 digits at 1.5 times the speed and a third of the memory. sampled
           +0.036 +- 0.046 and the clustered tree +0.008 +- 0.049: no difference shown, at 45 times
           the steps a second. Worse: nce +0.068 +- 0.046, adaptive +0.069 +- 0.011, differentiated
           +0.114 +- 0.031, huffman +0.216 +- 0.054, negative +0.319 +- 0.149, balanced
           +0.331 +- 0.043. skipgram: full 6.623 +- 0.006, clustered better by 0.095 +- 0.018,
           negative and differentiated worse.
           A step over 1,000,000 synthetic words takes 1.2 ms with sampled (0.6 ms over 10,000), 2.8
           ms with huffman (0.6 ms); full takes 741 ms over 100,000. These times, and speeds, are
           from a second pass over the same run.
"""

from experiments.words.config import WordsConfig


def get_config() -> WordsConfig:
    """Returns the config of the comparison on words."""
    return WordsConfig()
