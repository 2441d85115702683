"""Training steps whose cost does not depend on the number of classes: only rows that were read."""

from softmax_variants.heads._head import Plan as Plan
from softmax_variants.heads._head import ReadsRows as ReadsRows
from softmax_variants.rows._gradients import value_and_grad as value_and_grad
from softmax_variants.rows._ids import RowGradient as RowGradient
from softmax_variants.rows._ids import take as take
from softmax_variants.rows._lazy import Lazy as Lazy
from softmax_variants.rows._lazy import lazy as lazy
from softmax_variants.rows._norms import clip_by_global_norm as clip_by_global_norm
from softmax_variants.rows._norms import clip_rows as clip_rows
from softmax_variants.rows._norms import global_norm as global_norm
from softmax_variants.rows._sgd import SGD as SGD
from softmax_variants.rows._sgd import sgd as sgd
from softmax_variants.rows._steps import LazyState as LazyState
