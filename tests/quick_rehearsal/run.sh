#!/usr/bin/env bash
exec python3 train_gpt.py
