#!/bin/sh
# Pretrain on all GPUs of this machine (or RANKS=2 processes on a CPU); run it again to continue.
#   docs/guide/cluster/torchrun.sh RECIPE CORPUS RUN [key=value ...]
set -eu
recipe=$1 corpus=$2 run=$3
shift 3
exec torchrun --standalone --nproc-per-node "${RANKS:-gpu}" -m brainof pretrain "$recipe" --corpus "$corpus" --out "$run" "$@"
