#!/usr/bin/env bash
# Slurm: srun starts one torchrun a host; preempted, out of time or after a lost host, the job goes on where it was.
#
#     sbatch --nodes=4 examples/many_gpus/slurm.sh RUN [flags of lmhead train]
#     sbatch --nodes=4 examples/many_gpus/slurm.sh /shared/runs/books --data /shared/books --steps 200000
#
# RUN is the run's folder, where all hosts see it. Where it is a run already, it goes on, and flags of its config stay.
#SBATCH --job-name=lmhead
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=lmhead-%j.log
#SBATCH --signal=B:USR1@300
set -euo pipefail

if (($# < 1)); then
  echo "usage: sbatch slurm.sh RUN [flags of lmhead train]" >&2
  exit 2
fi
run=$1
shift

words=(--out "$run" "$@")
if [[ -f $run/config.yaml ]]; then
  words=(--resume "$run")
fi
: "${SLURM_JOB_NODELIST:?is set by sbatch, which is to start this}" "${SLURM_JOB_NUM_NODES:?}" "${SLURM_JOB_ID:?}"
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)

# --shutdown-timeout: for the step to end and its checkpoint to be written, less than the 300 seconds above
srun --kill-on-bad-exit=1 torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${PER_HOST:-gpu}" \
  --rdzv-backend c10d --rdzv-endpoint "$first:$((20000 + SLURM_JOB_ID % 40000))" --rdzv-id "$SLURM_JOB_ID" \
  --max-restarts 3 --shutdown-timeout 240 -m lmhead train "${words[@]}" &
step=$!

# USR1 comes before the end of the job's time, and before preemption where PreemptParameters has send_user_signal: every
# rank saves, and stops at the same step. The tasks are told, not srun, which would kill them
stopped=
trap 'stopped=yes; scancel --signal=TERM "$SLURM_JOB_ID.0"' USR1
status=0
wait "$step" || status=$?
if [[ $stopped ]]; then
  wait "$step" || true
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
