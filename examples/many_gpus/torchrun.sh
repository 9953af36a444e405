#!/usr/bin/env bash
# torchrun on several hosts: the same line on each of them, within ten minutes of one another.
#
#     examples/many_gpus/torchrun.sh FIRST HOSTS RUN [flags of lmhead train]
#     examples/many_gpus/torchrun.sh gpu-a 2 /shared/runs/books --data /shared/books --steps 20000
#
#     FIRST   the host where all meet, by a name or an address that the others reach, perhaps with :PORT (29400)
#     HOSTS   how many there are
#     RUN     the run's folder, where all hosts see it; where it is a run already, it goes on, and flags of its config stay
#
# Where a rank is lost all are started again from the newest checkpoint, up to three times. Where a host is lost or
# stopped the others wait ten minutes for it to be given this line again; where FIRST is, all have to be.
# PER_HOST=4: ranks of each host, instead of one a GPU. HERE=10.0.0.7: this host's address, where its name is none.
set -euo pipefail

if (($# < 3)); then
  sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
first=$1 hosts=$2 run=$3
shift 3

# torch 2.13: with its store shared between attempts, a host that comes back is not let in
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

# each rank of each attempt looks whether there is a run to go on with
# shellcheck disable=SC2016
rank='run=$1; shift; [[ -f $run/config.yaml ]] && set -- --resume "$run" || set -- --out "$run" "$@"
exec python -m lmhead train "$@"'

exec torchrun --nnodes "$hosts" --nproc-per-node "${PER_HOST:-gpu}" \
  --rdzv-backend c10d --rdzv-endpoint "$first" --rdzv-id "${run##*/}" --rdzv-conf join_timeout=600 \
  ${HERE:+--local-addr "$HERE"} --max-restarts 3 --shutdown-timeout 120 \
  --no-python bash -c "$rank" rank "$run" "$@"
