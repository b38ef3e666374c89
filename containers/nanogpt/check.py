"""The image's own test: all that a record imports, a C compiler for Triton, and on a GPU that the kernels are right.

In an image for newer records also what they take from the kernels hub and from tiktoken, which has to be there
without a network, and CUDA's headers.

The last line says what was there and what was tested. An AssertionError or ImportError says what is wrong.
"""

import importlib.machinery
import importlib.util
import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import triton
import triton.language as tl

LOCAL_KERNELS = os.environ.get("LOCAL_KERNELS", "")
"""Where `kernels` finds what it would download: NAME=FOLDER, joined by colons."""
CUDA = """
#include <cuda_bf16.h>
#include <math_constants.h>
extern "C" __global__ void halve(__nv_bfloat16 *values) {
    values[threadIdx.x] = __hmul(values[threadIdx.x], __float2bfloat16(0.5f));
}
"""
EXTENSION = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "compiled", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_compiled(void) { return PyModule_Create(&module); }
"""
# Three documents, the last as short as one, and the empty ones that records pad with; a window that cuts the first.
DOCUMENTS = [0, 700, 1000, 1001, 1001, 1001]
WINDOW = 128
ROUNDING = 2e-2  # of bfloat16, on values of about 1

Attention = Callable[..., torch.Tensor]


def main() -> None:
    gpu = torch.cuda.is_available()
    assert torch.version.cuda, f"torch {torch.__version__} is built for the CPU: point pip at a build for CUDA"
    assert gpu or not list(Path("/dev").glob("nvidia[0-9]*")), (
        f"a GPU, but CUDA {torch.version.cuda} does not start on it: is the node's driver too old?"
    )
    compile_c()
    attention = import_attention(gpu)
    if LOCAL_KERNELS:
        compile_cuda()
        if gpu:
            check_cuda()
        attention += f" and {import_kernels(gpu)}"
    if "TIKTOKEN_CACHE_DIR" in os.environ:
        check_vocabulary()
    if gpu:
        check_matmul()
        check_triton()
        check_compile()
        for attend in attentions():
            check_attention(attend)
        tested = f"tested on {torch.cuda.get_device_name()}"
    else:
        tested = "no GPU is visible: CUDA, Triton and attention are not tested"
    print(
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, triton {triton.__version__}, numpy {np.__version__}, "
        f"{attention}; {tested}"
    )


def compile_c() -> None:
    """An extension module as Triton compiles one for each kernel."""
    headers = sysconfig.get_paths("posix_prefix")["include"]
    with tempfile.TemporaryDirectory() as folder:
        source, module = Path(folder, "compiled.c"), Path(folder, "compiled.so")
        source.write_text(EXTENSION)
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", f"-I{headers}", "-o", module, source], check=True)
        loader = importlib.machinery.ExtensionFileLoader("compiled", str(module))
        spec = importlib.util.spec_from_loader("compiled", loader)
        loader.exec_module(importlib.util.module_from_spec(spec))


def compile_cuda() -> None:
    """A kernel as newer records compile one when they start; NVRTC needs no GPU."""
    from torch.cuda._utils import _nvrtc_compile  # noqa: PLC0415 # private, and not in every version

    binary, _ = _nvrtc_compile(CUDA, "halve", compute_capability="90")
    assert binary, "a CUDA kernel compiles to nothing"


def check_cuda() -> None:
    values = torch.ones(32, device="cuda", dtype=torch.bfloat16)
    torch.cuda._compile_kernel(CUDA, "halve")((1, 1, 1), (32, 1, 1), (values,))
    assert values.sum() == 16, "a CUDA kernel computes wrongly"


def import_attention(gpu: bool) -> str:
    """Which attention the records get."""
    return loaded(lambda: importlib.import_module("flash_attn_interface"), gpu)


def import_kernels(gpu: bool) -> str:
    """Which attention newer records get, by each name that they ask the hub for."""
    kinds = {loaded(lambda name=name: hub_attention(name), gpu) for name in kernel_names()}
    return f"for the hub's kernels {', '.join(sorted(kinds))}"


def kernel_names() -> list[str]:
    return [each.partition("=")[0] for each in LOCAL_KERNELS.split(":") if each]


def hub_attention(name: str) -> ModuleType:
    from kernels import get_kernel  # noqa: PLC0415 # not in every image

    return get_kernel(name).flash_attn_interface


def loaded(attention: Callable[[], ModuleType], gpu: bool) -> str:
    """What an attention is; without a GPU FlashAttention 3 may lack the driver, and only that."""
    try:
        module = attention()
    except ImportError as error:
        if gpu or "libcuda.so" not in str(error):
            raise
        return "FlashAttention 3 (not loaded: it needs the driver)"
    assert module.flash_attn_varlen_func, "the attention lacks the function that records call"
    # Our stand-in has PyTorch's function in it.
    return "PyTorch's own attention" if hasattr(module, "varlen_attn") else "FlashAttention 3"


def attentions() -> list[Attention]:
    """Every attention that a record can get, each once."""
    modules = [importlib.import_module("flash_attn_interface"), *map(hub_attention, kernel_names())]
    return list(dict.fromkeys(module.flash_attn_varlen_func for module in modules))


def check_vocabulary() -> None:
    import tiktoken  # noqa: PLC0415 # not in every image

    assert tiktoken.get_encoding("gpt2").n_vocab == 50257, "tiktoken's vocabulary is not GPT-2's"


def check_matmul() -> None:
    a, b = torch.randn(2, 512, 512, device="cuda")
    error = (a.bfloat16() @ b.bfloat16()).float() - a @ b
    assert error.abs().max() < 1, f"a product in bfloat16 is off by {error.abs().max():.3}"


@triton.jit
def add_one(values, count, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(values + at, tl.load(values + at, mask=at < count) + 1, mask=at < count)


def check_triton() -> None:
    values = torch.zeros(1000, device="cuda")
    add_one[(8,)](values, 900, block=128)
    assert values.sum() == 900, "a Triton kernel computes wrongly"


def check_compile() -> None:
    def square(x: torch.Tensor) -> torch.Tensor:
        return x.relu().square().sum(-1)

    x = torch.randn(256, 256, device="cuda")
    assert torch.allclose(torch.compile(square)(x), square(x), rtol=1e-4), "torch.compile computes wrongly"


def check_attention(attend: Attention) -> None:
    """Forward and backward, compiled as the records do it, against scores written out in float32."""
    torch.manual_seed(0)
    starts = torch.tensor(DOCUMENTS, dtype=torch.int32, device="cuda")
    q, k, v = (
        torch.randn(DOCUMENTS[-1], 6, 128, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    )

    @torch.compile(fullgraph=True, dynamic=False)
    def flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attend(
            q,
            k,
            v,
            cu_seqlens_q=starts,
            cu_seqlens_k=starts,
            max_seqlen_q=DOCUMENTS[-1],
            max_seqlen_k=DOCUMENTS[-1],
            causal=True,
            softmax_scale=0.1,
            window_size=(WINDOW, 0),
        )

    for ours, theirs in zip(outcome(flash, q, k, v), outcome(written_out, q, k, v), strict=True):
        error = (ours.float() - theirs.float()).abs().max() / theirs.float().abs().max()
        assert error < ROUNDING, f"attention is off by {error:.3} of its largest value"


def outcome(attend, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Its output and its gradients by q, k and v."""
    out = attend(q, k, v)
    return out.detach(), *torch.autograd.grad(out.float().square().sum(), (q, k, v))


def written_out(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    at = torch.arange(DOCUMENTS[-1], device="cuda")
    document = torch.bucketize(at, torch.tensor(DOCUMENTS[1:], device="cuda"), right=True)
    before = at[:, None] - at
    seen = (document[:, None] == document) & (before >= 0) & (before <= WINDOW)
    scores = 0.1 * torch.einsum("qhd,khd->hqk", q.float(), k.float())
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, float("-inf")).softmax(-1), v.float())


if __name__ == "__main__":
    main()
