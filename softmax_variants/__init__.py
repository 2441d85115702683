"""Softmax variants for JAX: maps from scores to probabilities, and the losses that train them."""

from softmax_variants import rows as rows
from softmax_variants.attention._dot_product import dot_product_attention as dot_product_attention
from softmax_variants.attention._flash import attention_state as attention_state
from softmax_variants.attention._flash import flash_attention as flash_attention
from softmax_variants.attention._position_scale import asentmax_scale as asentmax_scale
from softmax_variants.attention._position_scale import (
    scalable_softmax_scale as scalable_softmax_scale,
)
from softmax_variants.attention._position_scale import visible_counts as visible_counts
from softmax_variants.attention._state import AttentionState as AttentionState
from softmax_variants.attention._state import attention_output as attention_output
from softmax_variants.attention._state import merge_attention_states as merge_attention_states
from softmax_variants.heads._adaptive import adaptive_softmax_loss as adaptive_softmax_loss
from softmax_variants.heads._adaptive_head import AdaptiveSoftmax as AdaptiveSoftmax
from softmax_variants.heads._bias_report import BiasReport as BiasReport
from softmax_variants.heads._bias_report import bias_report as bias_report
from softmax_variants.heads._cutoffs import choose_cutoffs as choose_cutoffs
from softmax_variants.heads._differentiated import (
    differentiated_softmax_loss as differentiated_softmax_loss,
)
from softmax_variants.heads._differentiated_head import (
    DifferentiatedSoftmax as DifferentiatedSoftmax,
)
from softmax_variants.heads._head import Head as Head
from softmax_variants.heads._hierarchical import hierarchical_log_probs as hierarchical_log_probs
from softmax_variants.heads._hierarchical import hierarchical_sample as hierarchical_sample
from softmax_variants.heads._hierarchical import (
    hierarchical_softmax_loss as hierarchical_softmax_loss,
)
from softmax_variants.heads._hierarchical import hierarchical_top_k as hierarchical_top_k
from softmax_variants.heads._hierarchical_head import HierarchicalSoftmax as HierarchicalSoftmax
from softmax_variants.heads._importance import importance_sampled_loss as importance_sampled_loss
from softmax_variants.heads._in_batch import in_batch_softmax_loss as in_batch_softmax_loss
from softmax_variants.heads._linear import linear_cross_entropy as linear_cross_entropy
from softmax_variants.heads._linear_entmax import linear_entmax_loss as linear_entmax_loss
from softmax_variants.heads._linear_heads import FullSoftmax as FullSoftmax
from softmax_variants.heads._linear_heads import LinearEntmax as LinearEntmax
from softmax_variants.heads._noise import nce_loss as nce_loss
from softmax_variants.heads._noise import negative_sampling_loss as negative_sampling_loss
from softmax_variants.heads._sampled import sampled_softmax_loss as sampled_softmax_loss
from softmax_variants.heads._sampled_heads import NCE as NCE
from softmax_variants.heads._sampled_heads import ImportanceSampled as ImportanceSampled
from softmax_variants.heads._sampled_heads import InBatchSoftmax as InBatchSoftmax
from softmax_variants.heads._sampled_heads import NegativeSampling as NegativeSampling
from softmax_variants.heads._sampled_heads import SampledSoftmax as SampledSoftmax
from softmax_variants.heads._samplers import LogUniformSampler as LogUniformSampler
from softmax_variants.heads._samplers import MixedSampler as MixedSampler
from softmax_variants.heads._samplers import Sampler as Sampler
from softmax_variants.heads._samplers import UniformSampler as UniformSampler
from softmax_variants.heads._samplers import UnigramSampler as UnigramSampler
from softmax_variants.heads._streaming import FrequencyState as FrequencyState
from softmax_variants.heads._streaming import StreamingFrequency as StreamingFrequency
from softmax_variants.heads._target_sampling import TargetPartition as TargetPartition
from softmax_variants.heads._target_sampling import target_partitions as target_partitions
from softmax_variants.heads._target_sampling import (
    target_sampled_softmax_loss as target_sampled_softmax_loss,
)
from softmax_variants.heads._tree import Tree as Tree
from softmax_variants.heads._tree_builders import balanced_tree as balanced_tree
from softmax_variants.heads._tree_builders import class_tree as class_tree
from softmax_variants.heads._tree_builders import clustered_tree as clustered_tree
from softmax_variants.heads._tree_builders import huffman_tree as huffman_tree
from softmax_variants.losses._classification import alpha_relu_loss as alpha_relu_loss
from softmax_variants.losses._classification import cross_entropy_loss as cross_entropy_loss
from softmax_variants.losses._classification import entmax15_loss as entmax15_loss
from softmax_variants.losses._classification import entmax_loss as entmax_loss
from softmax_variants.losses._classification import normmax_loss as normmax_loss
from softmax_variants.losses._classification import sparsemax_loss as sparsemax_loss
from softmax_variants.losses._fenchel_young import fenchel_young_loss as fenchel_young_loss
from softmax_variants.losses._geometry import GINI as GINI
from softmax_variants.losses._geometry import SHANNON as SHANNON
from softmax_variants.losses._geometry import norm as norm
from softmax_variants.losses._geometry import tsallis as tsallis
from softmax_variants.maps._alpha_relu import alpha_relu as alpha_relu
from softmax_variants.maps._capped_sparsemax import capped_sparsemax as capped_sparsemax
from softmax_variants.maps._concrete import concrete_log_prob as concrete_log_prob
from softmax_variants.maps._entmax import entmax as entmax
from softmax_variants.maps._entmax import entmax15 as entmax15
from softmax_variants.maps._ev_softmax import ev_softmax as ev_softmax
from softmax_variants.maps._fusedmax import fusedmax as fusedmax
from softmax_variants.maps._gumbel import categorical as categorical
from softmax_variants.maps._gumbel import gumbel_max as gumbel_max
from softmax_variants.maps._gumbel import gumbel_softmax as gumbel_softmax
from softmax_variants.maps._hardmax import hardmax as hardmax
from softmax_variants.maps._mixture_of_softmaxes import mixture_of_softmaxes as mixture_of_softmaxes
from softmax_variants.maps._multimax import multimax as multimax
from softmax_variants.maps._normmax import normmax as normmax
from softmax_variants.maps._r_softmax import r_softmax as r_softmax
from softmax_variants.maps._scalable_softmax import scalable_softmax as scalable_softmax
from softmax_variants.maps._sigsoftmax import sigsoftmax as sigsoftmax
from softmax_variants.maps._softmax import log_softmax as log_softmax
from softmax_variants.maps._softmax import softmax as softmax
from softmax_variants.maps._softmax_n import softmax_n as softmax_n
from softmax_variants.maps._softpick import softpick as softpick
from softmax_variants.maps._sparsemax import sparsemax as sparsemax
from softmax_variants.maps._spherical_softmax import spherical_softmax as spherical_softmax
from softmax_variants.maps._stablemax import stablemax as stablemax
from softmax_variants.maps._straight_through import straight_through as straight_through
from softmax_variants.maps._subsets import gumbel_top_k as gumbel_top_k
from softmax_variants.maps._subsets import relaxed_top_k as relaxed_top_k
from softmax_variants.maps._sum_normalize import sum_normalize as sum_normalize
from softmax_variants.maps._taylor_softmax import taylor_softmax as taylor_softmax
from softmax_variants.maps._truncated import min_p_softmax as min_p_softmax
from softmax_variants.maps._truncated import top_k_softmax as top_k_softmax
from softmax_variants.maps._truncated import top_p_softmax as top_p_softmax

__version__ = "0.1.0.dev0"
