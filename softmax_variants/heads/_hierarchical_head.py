"""Hierarchical softmax as an output layer that changes places with the others."""

import dataclasses

import jax.numpy as jnp

from softmax_variants._pytrees import pytree_dataclass
from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_key, as_mask
from softmax_variants.heads._arguments import as_floating
from softmax_variants.heads._head import Params, Plan
from softmax_variants.heads._hierarchical import (
    as_labels,
    as_layer,
    as_states,
    hierarchical_log_probs,
    hierarchical_sample,
    hierarchical_softmax_loss,
    hierarchical_top_k,
    log_prob_of_labels,
    loss_of_paths,
    paths_of,
)
from softmax_variants.heads._tree import Paths, Tree


@pytree_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class HierarchicalSoftmax:
    r"""The output layer of `hierarchical_softmax_loss`: a `Head`, and one that reads few rows.

    .. math:: P(y \mid h) = \prod_{n \in \text{path}(y)} \frac{1}{1 + \exp(-s_n z_n)},
              \qquad z = W h + b, \quad s_n = \pm 1

    The parameters are "node_weight" [classes - 1, features] and, with a bias, "node_bias"
    [classes - 1]. They begin at 0: the first model is then the tree's own distribution, which is
    nearly that of the counts for Huffman's tree, and uniform for a balanced one.

    Args:
      tree: the `Tree` over the classes. It is data: pass the head through `jit` as an argument, so
        that the tree is no constant of the program.
      features: the size of a hidden state.
      use_bias: whether nodes have a bias.

    Raises:
      TypeError: features or use_bias of the wrong type; a tree that is none, when it is used.
      ValueError: features is not positive.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.HierarchicalSoftmax(tree=sv.huffman_tree([5, 1, 1, 2]), features=3)
      >>> params = head.init(jax.random.key(0))
      >>> print(head.loss(params, jnp.ones((2, 3)), jnp.array([0, 1])))
      [0.6931472 2.0794415]

    References:
      Morin and Bengio, `Hierarchical Probabilistic Neural Network Language Model
      <https://proceedings.mlr.press/r5/morin05a.html>`_, 2005.
    """

    tree: Tree
    features: int = dataclasses.field(metadata={"static": True})
    use_bias: bool = dataclasses.field(default=True, metadata={"static": True})

    def __post_init__(self) -> None:
        as_count(self.features, "features")
        if not isinstance(self.use_bias, bool):
            raise TypeError(f"use_bias must be a bool, got {type(self.use_bias).__name__}")

    def init(self, key: Array) -> Params:
        """Zeros in float32; nothing is drawn."""
        as_key(key)
        nodes = self.tree.nodes
        params = {"node_weight": jnp.zeros((nodes, self.features))}
        if self.use_bias:
            params["node_bias"] = jnp.zeros(nodes)
        return {name: value.astype(jnp.float32) for name, value in params.items()}

    def loss(
        self,
        params: Params,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        key: Array | None = None,
        where: ArrayLike | None = None,
    ) -> Array:
        """The exact negative log-probability; the key is not used."""
        del key
        w, b = self._of(params)
        return hierarchical_softmax_loss(hidden, labels, w, b, tree=self.tree, where=where)

    def log_prob(self, params: Params, hidden: ArrayLike, labels: ArrayLike) -> Array:
        """The log-probability of each label, from its path alone."""
        h, w, b = as_layer(hidden, *self._of(params), self.tree)
        y = as_labels(labels, h.shape[:-1])
        found: Array = over_devices(log_prob_of_labels, h, y, w, b, self.tree, split=examples_of(h))
        return found

    def log_probs(self, params: Params, hidden: ArrayLike) -> Array:
        """The log-probabilities of all classes."""
        return hierarchical_log_probs(hidden, *self._of(params), tree=self.tree)

    def top_k(self, params: Params, hidden: ArrayLike, k: int) -> tuple[Array, Array]:
        """The k most probable classes, best first: `(log_probs, ids)`."""
        return hierarchical_top_k(hidden, *self._of(params), k=k, tree=self.tree)

    def sample(self, params: Params, hidden: ArrayLike, key: Array) -> Array:
        """A class of each example, by one decision a level."""
        return hierarchical_sample(key, hidden, *self._of(params), tree=self.tree)

    def plan(self, labels: ArrayLike, *, key: Array | None = None) -> Plan:
        """The nodes on the paths, [..., depth]; the state is which of them go right."""
        del key
        paths = paths_of(self.tree, as_labels(labels))
        names = ("node_weight", "node_bias") if self.use_bias else ("node_weight",)
        return Plan(dict.fromkeys(names, paths.nodes), paths.right)

    def loss_of_rows(
        self,
        rows: Params,
        plan: Plan,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        where: ArrayLike | None = None,
    ) -> Array:
        """The losses from the rows on the paths."""
        h = as_states(hidden)
        y = as_labels(labels, h.shape[:-1])
        paths = Paths(plan.ids["node_weight"], plan.state)
        shape = (*y.shape, self.tree.depth)
        w = as_floating(rows["node_weight"], "rows['node_weight']", (*shape, h.shape[-1]))
        b = as_floating(rows["node_bias"], "rows['node_bias']", shape) if self.use_bias else None
        return loss_of_paths(w, b, paths, h, y, as_mask(where, y.shape), self.tree.nodes)

    def _of(self, params: Params) -> tuple[Array, Array | None]:
        return params["node_weight"], params["node_bias"] if self.use_bias else None
