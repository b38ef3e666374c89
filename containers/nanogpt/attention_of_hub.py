"""FlashAttention 3's module name, for an image with the hub's kernel: the function of it that older records import."""

from kernels import get_kernel

flash_attn_interface = get_kernel("kernels-community/flash-attn3", version=1).flash_attn_interface
flash_attn_varlen_func = flash_attn_interface.flash_attn_varlen_func
