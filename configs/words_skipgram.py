"""Ten output layers that predict a word near another one, by skip-gram.

Command:   python -m experiments compare configs/words_skipgram.py
Hardware:  2 cores of an AMD EPYC
Time:      9 min
Result:    3.4 million words, a vocabulary of 20,000; 500 steps of 256 words at the rate that each
           head chose of 0.03, 0.095 and 0.3, which is 0.095 for all; 3 seeds, simultaneous 95%
           intervals. full softmax: a test NLL of 6.627 +- 0.006. Better: the clustered tree, -0.097
           +- 0.018. No difference shown: fused (+0.000 +- 0.000), sampled (+0.003 +- 0.017), nce
           (+0.005 +- 0.008), huffman (-0.007 +- 0.008), balanced (-0.015 +- 0.018), adaptive
           (+0.017 +- 0.029). Worse: differentiated +0.024 +- 0.011, negative +0.040 +- 0.030. To
           full's validation NLL after half of its steps: negative takes 0.009 of full's time (0.004
           to 0.021), balanced 0.010, huffman 0.012, sampled 0.014, nce 0.015, adaptive 0.083,
           differentiated 0.68, fused 0.90 (0.79 to 1.02). A step over 1,000,000 synthetic words
           takes 0.4 ms with negative, 0.8 with sampled, 2.2 with huffman, 213 with adaptive; full
           takes 341 ms over 100,000.
"""

from experiments.words.config import WordsConfig


def get_config() -> WordsConfig:
    """Returns the config of the comparison on neighbouring words."""
    return WordsConfig(task="skipgram")
