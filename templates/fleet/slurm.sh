#!/bin/bash
# Does the units of a plan as an array of SLURM, then gathers them:
#
#   invoke plan --json-file .tagship/plan.json --tag v1.0.0
#   units=$(python -c 'import json; print(len(json.load(open(".tagship/plan.json"))["units"]))')
#   array=$(sbatch --parsable --array=0-$((units - 1)) slurm.sh)
#   sbatch --dependency=afterok:$array --wrap "invoke gather --plan .tagship/plan.json"
#
# A unit that failed is done again by its number: sbatch --array=3,7 slurm.sh. A cluster has a limit for the numbers of an
# array (scontrol show config | grep MaxArraySize); beyond it give the task --index $((SLURM_ARRAY_TASK_ID + 1000)).
# Copy this file, and change what follows to what your cluster and your plan ask for.
#SBATCH --job-name=tagship
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=06:00:00
#SBATCH --output=.tagship/unit-%A_%a.log
set -euo pipefail

# The clone that sbatch was called in; all nodes have to see it, and the results.
here="$SLURM_SUBMIT_DIR"
scratch="$(mktemp --directory)"
trap 'rm -rf "$scratch"' EXIT

# A clone for each task, at the commit of the plan, with the tags. Runs that are not committed have to be copied, too.
commit="$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["commit"])' "$here/.tagship/plan.json")"
git clone --quiet --no-checkout "$here" "$scratch/clone"
cd "$scratch/clone"
git checkout --quiet --detach "$commit"
invoke work --plan "$here/.tagship/plan.json" --results "$here/results"
