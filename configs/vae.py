"""Estimators of the gradient of a categorical autoencoder on the digits, beside the exact one.

Command:   python -m experiments compare configs/vae.py
Hardware:  2 cores of an AMD EPYC, shared with other work (a load of 6 to 10 all along)
Time:      9.4 min, of which 5.7 min of CPU on both cores together
Result:    256 codes, exact test ELBO in nats an image, 8 seeds, simultaneous 95% intervals over 32
           estimators. exact -19.20 +- 0.22; against it, score function with leave-one-out baseline
           -0.37 +- 0.67 (no difference shown), Gumbel-softmax at 0.3 -0.40 +- 0.34,
           Gumbel-sparsemax at 1 -0.40 +- 0.25, Gumbel-entmax 1.5 at 0.3 -0.45 +- 0.35,
           straight-through at 0.3 -0.66 +- 0.49, score function without baseline -2.56 +- 0.41.
           In log p(x) none of these but the last is shown to differ.
           Gradient of the encoder at the end of the exact run, over the length of the exact one:
           Gumbel-softmax at 3 has a bias of 1.371 +- 0.005 and a variance of 0.22, at 0.2 a bias of
           0.43 +- 0.06 and a variance of 13; Gumbel-sparsemax has less bias at the same
           temperature (0.2: 0.28 +- 0.09) and more variance (53). Straight-through keeps a bias
           of 0.7 to 0.9 at the lowest temperature. The score function's bias is below 0.07 with
           the baseline, where its variance is 8.4 instead of 272.
"""

from experiments.vae.config import VaeConfig


def get_config() -> VaeConfig:
    """Returns the config of the comparison of estimators."""
    return VaeConfig()
