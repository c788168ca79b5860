#!/usr/bin/env bash
# A training on several nodes under Slurm: sbatch docs/scaling/slurm.sh
# Five minutes before its time is over, or when it is preempted, the job saves last/ and goes back into the queue.
#SBATCH --job-name=minbert
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
# Of a training in one process, `srun multitask train ...` without torchrun, --signal=USR1@300 has last/ saved, and it goes on.
set -u

RUN=/shared/runs/big       # seen by all nodes
CONFIG=/shared/runs/big.toml  # weights, data, tasks, ...
PORT=29500

requeue() {
  scancel --signal=TERM "$SLURM_JOB_ID.0"  # torchrun passes it on: all processes end after the same step
  wait "$TRAINING"
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap requeue USR1 TERM

if [ -d "$RUN/last" ] || [ -f "$RUN/environment.json" ]; then
  command=(resume "$RUN")
else
  command=(train "$CONFIG" --out "$RUN")
fi
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / 8))
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1  # a store of its own for each restart
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --max-restarts 3 \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$HEAD:$PORT" \
  -m multitask "${command[@]}" &
TRAINING=$!
wait "$TRAINING"
