"""Several clips end to end in one row: every layer hears them all, attention stays within each.

So nothing is padded: a linear layer multiplies as many positions as there are. transformers calls attention
by the name in the model's configuration (`AttentionInterface`); ours is its SDPA, clip by clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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

PLAIN_POSITIONS = 1024
"""Most positions whose attention is computed in plain products, in bf16 on a CPU: at 555 positions of 6 heads
they take 3.3 ms forward and backward and torch's fused kernel 10.9 ms, at 1500 40 and 50 ms (torch 2.13, AMD
EPYC with AVX512-BF16, 2 cores). They keep the scores: 3.7 MB a layer at 555 positions."""


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


@torch.compiler.disable  # type: ignore[untyped-decorator]
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

    `torch.compile` leaves it alone: it would compile anew for each number of segments.

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
    attend = partial(_attend, dropout=dropout, scaling=scaling, is_causal=bool(module.is_causal))
    heard = [attend(*part) for part in parts]
    return torch.cat([one.transpose(1, 2) for one in heard], dim=1), None


def _attend(
    query: Tensor, key: Tensor, value: Tensor, *, dropout: float, scaling: float | None, is_causal: bool
) -> Tensor:
    """Return the attention of one clip, by SDPA or in plain products where those are faster."""
    plain = query.dtype == torch.bfloat16 and query.device.type == "cpu" and not (dropout or is_causal)
    if plain and key.shape[2] <= PLAIN_POSITIONS:
        scores = query * (query.shape[-1] ** -0.5 if scaling is None else scaling) @ key.transpose(-1, -2)
        return scores.softmax(dim=-1) @ value
    return scaled_dot_product_attention(
        query, key, value, dropout_p=dropout, scale=scaling, is_causal=is_causal
    )


AttentionInterface.register(SEGMENTED, segmented_attention)
AttentionMaskInterface.register(SEGMENTED, sdpa_mask)
