"""The pins of the benchmark's own image, and the stand-in for FlashAttention's module."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from slurm_bench.pure import record_facts
from slurm_bench.pure.rules import PROGRAM
from slurm_bench.steps import cli
from tests.conftest import REPOSITORY
from tests.waiting import LONG_S

CONTAINERS = REPOSITORY / "containers"
DEFINITION = (CONTAINERS / "nanogpt.def").read_text()
VARIANTS = ["nanogpt", "nanogpt-modern", "nanogpt-2026"]
# What scripts/build_image fills in, without a pin too, and what it reads from one beside the definition's own words.
FILLED_IN = {"bootstrap", "from", "mirror", "revision", "folder", "environment", "hub"}
READ = {"python", "pip", "remedy", "space"}
HUB_KERNELS = ["varunneal/flash-attention-3", "kernels-community/flash-attn3"]


def pins(variant: str) -> dict[str, list[str]]:
    """The values of each key, in their order."""
    found: dict[str, list[str]] = {}
    for line in (CONTAINERS / f"{variant}.pins").read_text().splitlines():
        if line and not line.startswith("#"):
            key, value = line.split(": ", 1)
            found.setdefault(key, []).append(value.strip())
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_placeholder_has_a_pin_and_every_pin_is_used(variant: str) -> None:
    placeholders = set(re.findall(r"\{\{ (\w+) \}\}", DEFINITION)) - FILLED_IN
    pinned = {"wheels" if key == "wheel" else key for key in pins(variant)}
    assert placeholders == {"title", "wheels"}
    assert placeholders <= pinned <= placeholders | READ | {"environment", "hub"}
    assert {"python", "space"} <= pinned


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_wheel_has_one_version(variant: str) -> None:
    wheels = pins(variant)["wheel"]
    # NAME==VERSION (=== where a build for the CPU would fit as well), or the address of one file.
    names = [re.fullmatch(r"([a-z0-9_]+)(?:===?[0-9][\w.+]*| @ https://\S+\.whl)", wheel) for wheel in wheels]
    assert all(names), [wheel for wheel, name in zip(wheels, names, strict=True) if not name]
    assert max(Counter(name[1] for name in names if name).values()) == 1


def test_the_published_image_has_the_original_s_versions() -> None:
    wheels = pins("nanogpt")["wheel"]
    assert wheels[:2] == ["torch==2.9.0.dev20250718+cu126", "triton==3.4.0"]
    assert wheels[2].startswith("flash_attn_3 @ ")
    assert "modern" in pins("nanogpt")["remedy"][0]


@pytest.mark.parametrize("variant", ["nanogpt-modern", "nanogpt-2026"])
def test_the_other_images_say_that_their_times_are_others(variant: str) -> None:
    assert "not those of the published image" in pins(variant)["title"][0]


def environment(variant: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in pins(variant).get("environment", []))


def test_only_the_images_for_newer_records_have_variables_of_their_own() -> None:
    assert environment("nanogpt") == {}
    hub = ":".join(f"{name}=/opt/hub/{name}" for name in HUB_KERNELS)
    assert environment("nanogpt-modern") == {"HF_HUB_OFFLINE": "1", "LOCAL_KERNELS": hub}
    assert environment("nanogpt-2026") == {**environment("nanogpt-modern"), "TIKTOKEN_CACHE_DIR": "/opt/hub/tiktoken"}
    for variant in VARIANTS:
        assert not [line for line in pins(variant).get("environment", []) if " " in line]  # they become one line


def test_the_task_of_2026_runs_in_the_image_of_2026() -> None:
    (config,) = cli.composed(["task=nanogpt_speedrun_2026"])
    assert (config.task.image, config.task.agent_image) == (
        "containers/nanogpt-2026.sif",
        "containers/agent-nanogpt-2026.sif",
    )
    said = record_facts.of({PROGRAM: ""}, config.task.facts)
    assert said["objective"].startswith("the sum of the cross-entropies of the next three tokens")


def test_what_the_2026_image_takes_from_the_hub_is_what_it_looks_for() -> None:
    fetched = [line.split()[0] for line in pins("nanogpt-2026")["hub"]]
    assert fetched == [*HUB_KERNELS, "openai-community/gpt2"]
    assert all(name in DEFINITION for name in fetched)


def test_the_vocabulary_is_locked_by_the_hashes_that_tiktoken_expects() -> None:
    lines = (CONTAINERS / "nanogpt-2026.lock").read_text().splitlines()
    locked = {path: sha256 for sha256, path in (line.split() for line in lines if not line.startswith("#"))}
    assert locked["openai-community/gpt2/merges.txt"].startswith("1ce1664773c50f3e0cc8842619a93edc")
    assert locked["openai-community/gpt2/vocab.json"].startswith("196139668be63f3b5d6574427317ae82")


# PyTorch's kernel is for GPUs only. This one computes on the CPU what its documentation says, so that the stand-in
# runs through PyTorch's real function, down to the kernel's own arguments.
ATTENDS = """
import sys
import torch

seen = []

def kernel(q, k, v, starts_q, starts_k, max_q, max_k, dropout, causal, return_debug_mask, *, scale=None,
           window_size_left=None, window_size_right=None, **others):
    seen.append((max_q, max_k, causal, scale, window_size_left, window_size_right))
    out = torch.empty_like(q)
    for start, end in zip(starts_q[:-1].tolist(), starts_q[1:].tolist()):
        at = torch.arange(end - start)
        before = at[:, None] - at
        mask = torch.ones_like(before, dtype=torch.bool)
        if window_size_left >= 0:
            mask &= before <= window_size_left
        if causal or window_size_right >= 0:
            mask &= before >= -max(window_size_right, 0)
        scores = torch.einsum("qhd,khd->hqk", q[start:end], k[start:end]) * (scale or q.size(-1) ** -0.5)
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        out[start:end] = torch.einsum("hqk,khd->qhd", weights, v[start:end])
    return out, q.new_zeros(q.size(1), q.size(0)), *(q.new_zeros(2) for _ in range(3))

library = torch.library.Library("aten", "IMPL")
library.impl("_flash_attention_forward", kernel, "CPU")

from flash_attn_interface import flash_attn_varlen_func

torch.manual_seed(0)
starts = torch.tensor([0, 5, 6], dtype=torch.int32)
q, k, v = torch.randn(3, 6, 2, 4)

def attend(**how):
    lengths = {"cu_seqlens_q": starts, "cu_seqlens_k": starts, "max_seqlen_q": 5, "max_seqlen_k": 5}
    return flash_attn_varlen_func(q, k, v, **lengths, **how)
"""


def attend(check: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ATTENDS + check],
        env={"PYTHONPATH": str(CONTAINERS / "nanogpt"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LONG_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_records_call_reaches_the_kernel() -> None:
    attend("""
out = attend(causal=True, softmax_scale=0.1, window_size=(2, 0))
assert seen == [(5, 5, False, 0.1, 2, 0)], seen
# The first token of a document sees itself alone, and the fifth the two before it: not the first two.
assert torch.allclose(out[0], v[0]) and torch.allclose(out[5], v[5])
v[:2] += 1
assert torch.allclose(attend(causal=True, softmax_scale=0.1, window_size=(2, 0))[4], out[4])
""")


def test_causal_and_windows_mean_what_they_do_in_flash_attention() -> None:
    attend("""
attend()
attend(causal=True)
attend(window_size=(2, 1))
attend(causal=True, window_size=(2, 1))
assert [(*call[2:],) for call in seen] == [
    (False, None, -1, -1), (True, None, -1, 0), (False, None, 2, 1), (False, None, 2, 0)], seen
""")


def test_compiled_it_stays_in_the_graph() -> None:
    attend("""
compiled = torch.compile(attend, backend="aot_eager", fullgraph=True, dynamic=False)
how = {"causal": True, "softmax_scale": 0.1, "window_size": (2, 0)}
assert torch.equal(compiled(**how), attend(**how))
""")


def test_the_image_carries_what_it_is_checked_with() -> None:
    assert "{{ folder }} /opt/nanogpt" in DEFINITION
    carried = {path.name for path in Path(CONTAINERS / "nanogpt").glob("*.py")}
    assert carried == {"attention_of_hub.py", "check.py", "flash_attn_interface.py"}
