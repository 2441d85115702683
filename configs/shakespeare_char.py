"""A small GPT on characters: nanoGPT's CPU run, and attention normalisers by output losses.

4 layers, 4 heads, width 128, context 64, batches of 12 windows, 2,000 steps of AdamW. nanoGPT
publishes a validation loss of 1.88 for it, from 20 batches of the validation part. Here the loss
is over the whole validation part. FILE is Tiny Shakespeare; without `--data.path` the text is the
standard library's sources, and its losses are others.

Command:   python -m experiments train configs/shakespeare_char.py --data.path FILE
Hardware:  2 cores of an AMD EPYC
Time:      2 min
Result:    1.7714 nats, 2.5555 bits a character, accuracy 47.1%. With nanoGPT's first weights
           (--first-weights nanogpt) 1.9093. Everything else is as there: the losses of the first
           10 steps agree with torch's within 2e-6 (python -m experiments bench gpt).

Command:   python -m experiments compare configs/shakespeare_char.py --data.path FILE
Budget:    21 models by 3 seeds by 400 steps
Time:      a model takes 61 to 85 s on 2 cores that do nothing else: about 25 min, and 3 for timing
Result:    at revision 2b1b9cc, smoothed loss (nats a character, mean of 3 seeds) and zeros of the
           attention weights. The fused loss is cross-entropy: its models end where those do.
             attention      cross-entropy  entmax loss  zeros
             softmax_n             2.3653       2.2861   0 %
             softmax               2.3805       2.3012   0 %
             ssmax                 2.3818       2.3041   0 %
             softpick              2.3853       2.3084  57 %
             learned_alpha         2.4552       2.3995  83 %
             entmax15              2.4583       2.4037  84 %
             sparsemax             2.5056       2.5009  92 %
           With 3 seeds no interval of a difference leaves out zero (20 models at once), and 400 of
           2,000 steps say who learns fast, not who ends best. Steps a second: 0.83 to 1.05 times
           those of softmax with cross-entropy, learned_alpha with the entmax loss the slowest.
"""

from experiments.shakespeare.config import ShakespeareConfig


def get_config() -> ShakespeareConfig:
    """Returns the config of the small language model."""
    return ShakespeareConfig()
