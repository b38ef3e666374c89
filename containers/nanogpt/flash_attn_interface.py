"""FlashAttention 3's module name, for an image without it: the one function of it that the human records import.

It is PyTorch's variable-length attention, whose kernels (FlashAttention 2) are part of PyTorch and need no wheel that
fits. The results agree within rounding; the speed is another. As there, each window size is a graph of its own to
torch.compile.
"""

from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

ALL = -1


def flash_attn_varlen_func(  # noqa: PLR0913, PLR0917 # FlashAttention's own signature, as far as the records use it
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    *,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (ALL, ALL),
) -> Tensor:
    """Attention within each of the sequences that lie end to end in q, k and v, (tokens, heads, head_dim) each.

    Args:
        cu_seqlens_q: where the sequences of q begin, and the end of the last, int32, (sequences + 1,)
        max_seqlen_q: tokens of the longest sequence, or more
        softmax_scale: of the scores; None is head_dim ** -0.5
        window_size: how many keys before and after its own position a query sees; -1 is all of them. With `causal`
            none after.
    """
    before, after = window_size
    return varlen_attn(
        q,
        k,
        v,
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q,
        max_seqlen_k,
        scale=softmax_scale,
        window_size=(before, 0 if causal else after),
    )
