"""Several clips end to end in one row: every layer hears them all, attention stays within each.

So nothing is padded: a linear layer multiplies as many positions as there are. transformers calls attention
by the name in the model's configuration (`AttentionInterface`); ours is its SDPA, clip by clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

SEGMENTED = "whisper_peft_segmented"
"""Name of the attention in the model's configuration. Without segments it is transformers' SDPA."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Where each clip of a row ends: encoder positions and decoder tokens of each, in order."""

    positions: tuple[int, ...]
    tokens: tuple[int, ...] = ()

    def of_keys(self, attention: nn.Module) -> tuple[int, ...]:
        """Return the lengths of what a Whisper attention looks at."""
        return self.tokens if attention.is_causal else self.positions

    def of_queries(self, attention: nn.Module) -> tuple[int, ...]:
        """Return the lengths of what looks."""
        return self.tokens if attention.is_decoder else self.positions

    def token_positions(self, device: torch.device) -> Tensor:
        """Return each token's place in its own clip, shape `(1, all tokens)`.

        Example:
            >>> Segments((50, 60), (3, 2)).token_positions(torch.device("cpu")).tolist()
            [[0, 1, 2, 0, 1]]
        """
        starts = (0, *accumulate(self.tokens[:-1]))
        counts = torch.tensor(self.tokens, device=device)
        places = torch.arange(sum(self.tokens), device=device)
        return (places - torch.tensor(starts, device=device).repeat_interleave(counts))[None]


def segmented_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    segments: Segments | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend within each segment, or as SDPA does where there are none.

    Args:
        module: The attention, which knows whether it is causal and whether it is the decoder's.
        query: Shape `(1, heads, all queries, head width)`. So for the keys and values.
        key: Keys.
        value: Values.
        attention_mask: Not read with segments: each is causal or whole.
        dropout: Probability that a weight is dropped.
        scaling: Factor of the scores.
        segments: Lengths of the clips.
        **options: What else transformers gives.
    """
    if segments is None:
        whole: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return whole
    queries, keys = segments.of_queries(module), segments.of_keys(module)
    # split, not slices: the gradients of a split are joined by one copy
    parts = zip(query.split(queries, dim=2), key.split(keys, dim=2), value.split(keys, dim=2), strict=True)
    heard = [
        scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=bool(module.is_causal)
        )
        for q, k, v in parts
    ]
    return torch.cat([one.transpose(1, 2) for one in heard], dim=1), None


AttentionInterface.register(SEGMENTED, segmented_attention)
AttentionMaskInterface.register(SEGMENTED, sdpa_mask)
