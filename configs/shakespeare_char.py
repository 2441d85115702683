"""A small GPT on characters: nanoGPT's CPU run, and attention normalisers by output losses.

4 layers, 4 heads, width 128, context 64, batches of 12 windows, 2,000 steps of AdamW. nanoGPT
publishes a validation loss of 1.88 for it, from 20 batches of the last tenth of the text. Here the
loss is over the whole of it. FILE is Tiny Shakespeare; without `--data.path` the text is the
standard library's sources, and its losses are others.

Command:   python -m experiments train configs/shakespeare_char.py --data.path FILE
Hardware:  2 cores of an AMD EPYC
Time:      1 min 49 s
Result:    1.7714 nats, 2.5555 bits a character, accuracy 47.1%. With nanoGPT's first weights
           (--first-weights nanogpt) 1.9093. Everything else is as there: the losses of the first
           10 steps agree with torch's within 2e-6 (python -m experiments bench gpt).

Command:   python -m experiments compare configs/shakespeare_char.py --data.path FILE
Budget:    21 models, each with 3 learning rates by 100 steps, then 3 seeds by 300 steps
Hardware:  2 cores of an AMD EPYC
Time:      33 min
Result:    bits a character of the last tenth after 300 steps, outputs with zeros smoothed, 95%
           intervals: softmax in both places 3.584 +- 0.056. In attention, on cross-entropy:
           softpick 3.538 +- 0.034, softmax_n 3.548 +- 0.082, ssmax 3.574 +- 0.036, 1.5-entmax 3.637
           +- 0.067, learned alpha 3.638 +- 0.067, sparsemax 3.681 +- 0.037; on the fused loss the
           same within 0.016. On the 1.5-entmax loss, softmax in attention: 3.448 +- 0.043, with 29
           of 65 characters left and 0.8% of the right ones missed. Differences to softmax in both
           places, 20 at once by 3 seeds: only sparsemax with the fused loss is shown worse, +0.114
           +- 0.108. 1.5-entmax and a learned alpha (1.44 to 1.49) leave 90 to 92% of the attention
           at zero, sparsemax 93 to 95%, at 82 to 94% of softmax's tokens a second.
"""

from experiments.shakespeare.config import ShakespeareConfig


def get_config() -> ShakespeareConfig:
    """Returns the config of the small language model."""
    return ShakespeareConfig()
