#!/usr/bin/env bash
# Train once in this directory, which holds train_gpt.py and data/.
set -euo pipefail

gpus=0
# torch's start costs seconds, so it is asked only where there can be a GPU; it heeds CUDA_VISIBLE_DEVICES.
if [[ "${TRAIN_PRESET:-tiny}" != tiny ]] && compgen -G '/dev/nvidia[0-9]*' >/dev/null; then
    gpus=$(python3 -c 'import torch; print(torch.cuda.device_count())')
fi

# A launcher takes longer to start than the tiny preset takes to train.
if ((gpus > 0)); then
    exec torchrun --standalone --nproc_per_node="$gpus" train_gpt.py
fi
exec python3 train_gpt.py
