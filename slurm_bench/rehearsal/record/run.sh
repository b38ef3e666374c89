#!/usr/bin/env bash
# Train once in this directory, which holds train_gpt.py and data/.
set -euo pipefail

# GPUs that are ours to use. Not asked of torch, whose start costs seconds.
count_gpus() {
    if [[ -v CUDA_VISIBLE_DEVICES ]]; then
        tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c . || true
    else
        { nvidia-smi --list-gpus 2>/dev/null || compgen -G '/dev/nvidia[0-9]*'; } | grep -c '^GPU\|^/dev' || true
    fi
}

gpus=0
if [[ "${TRAIN_PRESET:-tiny}" != tiny ]]; then
    gpus=$(count_gpus)
fi

# A launcher takes as long to start as torch, so one process goes without.
if ((gpus > 1)); then
    exec torchrun --standalone --nproc_per_node="$gpus" train_gpt.py
fi
exec python3 train_gpt.py
