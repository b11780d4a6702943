#!/usr/bin/env bash
# What issue-sized work needs a GPU for, in slices of at most ten minutes on a machine with only JAX, Flax, Optax, Orbax and torch.
#
#   here, once:     tools/on_accelerator.sh wheels            what that machine lacks → runs/carry/wheels (47 MB), wheels-speed, wheels-physics
#                   WORK=runs/carry tools/on_accelerator.sh physics [N]     physics twins → runs/carry/physics, as many as may travel
#   there, again and again until it says "all done", a call a line (runs/carry/NAME is what each call must bring along):
#                   tools/on_accelerator.sh install                         wheels, once a machine; then, on the same machine:
#                   tools/on_accelerator.sh STAGE [options of the program behind it]        state.*, wheels-speed, physics as needed
#     physics     v2v synth --recipes physics                 N twins (default 2000), on all cores; with wheels-physics and OpenGL
#     speed       tools/bench/accelerator.py                  5B with random weights, beside diffusers
#     embedded    experiments/embedded_gpu.py                 the packaged model, attention full
#     one_way     experiments/embedded_gpu_one_way.py         the same, conditions computed once
#     score       tools/checks/score_embedded.py on both             success with intervals, side by side
#     ablate      tools/ablation/ablate.py                             the paper's ablations in small
#     all         these in this order, as far as a slice goes
#   on two cores, to see that all of it runs (twenty minutes or so; the numbers mean nothing):
#                   SMALL=1 WORK=runs/small CARRY=runs/none SLICE=7200 tools/on_accelerator.sh all
#   afterwards:     copy $OUT/state.* to runs/carry/, $OUT/*.json to where tools/cards/readme_figures.py is told to look
#
# A call carries 64 MiB with the code (16 MB): the wheels and a state don't fit into the same one. What a slice leaves lies in $OUT: results as JSON, finished
# weights and the compilation cache as state.NN of at most 16 MiB, joined and unpacked by the next slice. A stage in the middle resumes from
# its checkpoint on the machine's own disk; one too big to travel starts again on a fresh machine, so follow a slice at once by the next.
# Exit: 0 all done, 75 run again, else an error. SMALL, WORK, CARRY, OUT, PYTHON, SLICE and MARGIN (seconds, and those left for saving) can be set.
set -euo pipefail
cd "$(dirname "$0")/.."
stage=${1:-help}; shift || true
carry=${CARRY:-runs/carry}; work=${WORK:-runs/accelerator}; out=${OUT:-$work/out}
python=${PYTHON:-python3}; slice=${SLICE:-540}; limit=$((SECONDS + slice)); margin=${MARGIN:-15}
wheels="array_record av dm-tree docstring_parser ftfy grain immutabledict importlib_resources portpicker promise simple_parsing termcolor
  tensorflow-datasets tensorflow-metadata toml typeguard tyro wcwidth googleapis-common-protos"
wheels_speed="diffusers importlib_metadata"
wheels_physics="mujoco mujoco-core mujoco-studio glfw pyopengl"
exports="full one_way"

fetch_wheels() {  # folder, names
  local platforms=() n folder=$1; shift
  for n in 2_17 2_24 2_26 2_27 2_28 2_31 2_34 2_35; do platforms+=(--platform "manylinux_${n}_x86_64"); done
  mkdir -p "$folder"
  for n in "$@"; do  # pure wheels, or built for that machine's Python; one without a wheel is built here
    "$python" -m pip download -q --no-deps --only-binary=:all: --python-version "${THERE:-3.12}" --implementation cp \
      "${platforms[@]}" --platform manylinux2014_x86_64 -d "$folder" "$n" 2>/dev/null ||
      "$python" -m pip wheel -q --no-deps -w "$folder" "$n" || echo "no wheel of $n" >&2
  done
  du -sh "$folder"
}

install() {  # folders of wheels that this machine hasn't taken yet, into a folder of our own
  local site folder; site=$(realpath -m "$work/site")
  export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
  for folder in "$carry"/wheels*; do
    if [ ! -d "$folder" ] || [ -e "$site/.$(basename "$folder")" ]; then continue; fi
    "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --find-links "$folder" --target "$site" "$folder"/*.whl
    touch "$site/.$(basename "$folder")"
  done
  "$python" -c 'import array_record, av, grain, tensorflow_datasets, tyro' ||
    { echo "packages are missing: bring $carry/wheels, made by tools/on_accelerator.sh wheels where there is a network" >&2; exit 1; }
}

restore() {
  mkdir -p "$work/results" "$out"
  JAX_COMPILATION_CACHE_DIR=$(realpath -m "$work/jax-cache")
  export JAX_COMPILATION_CACHE_DIR JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
  if [ ! -e "$work/restored" ] && ls "$carry"/state.* >/dev/null 2>&1; then
    cat "$carry"/state.* | tar -x -C "$work"
    touch "$work/restored"
  fi
  sets=()
  for folder in "$carry/physics" "$work/physics"; do
    if [ -e "$folder/report.json" ] && [[ " ${sets[*]-} " != *" $folder "* ]]; then sets+=("$folder"); fi
  done
  if ((${#sets[@]})); then sets=(--sets "${sets[@]}"); fi
}

pack() {  # the most valuable first, as much as may travel: eight files and 64 MiB a slice, so 56 MB in four shards
  local left=56000000 size item take=()
  cp -f "$work"/results/*.json "$out"/ 2>/dev/null || true
  if [ -d "$work/results/ablation" ]; then tar -cf "$out/ablation.tar" -C "$work/results" ablation; fi
  for item in results export-full export-one_way vae/vae.safetensors vae/config.json text/text.safetensors base/base.safetensors jax-cache \
    edit-full/lora.safetensors edit-one_way/lora.safetensors; do
    [ -e "$work/$item" ] || continue
    size=$(du -sb "$work/$item" | cut -f1)
    if ((size <= left)); then take+=("$item"); left=$((left - size)); else echo "stays on the machine, too big to travel: $item" >&2; fi
  done
  rm -f "$out"/state.*
  if ((${#take[@]})); then tar -c -C "$work" "${take[@]}" | split -b 15728640 -d - "$out/state."; fi
}

within() {  # a command for what is left of the slice; 75 when the time was up. SIGTERM makes a training run save and stop.
  local left=$((limit - SECONDS)) code=0
  ((left > margin + 1)) || return 75
  timeout --signal=TERM --kill-after=40 "$((left - margin))" "$@" || code=$?
  if ((code == 124 || code == 137 || SECONDS >= limit - margin)); then return 75; fi
  return $code
}

train() {  # attention, experiment, options
  local name=$1 file=$2; shift 2
  [ -e "$work/export-$name/lora.safetensors" ] || within "$python" -m v2v train "$file" --workdir "$work" "${sets[@]}" "$@"
}

score() {
  local name
  for name in $exports; do
    [ -e "$work/results/score-$name.json" ] && continue
    within "$python" tools/checks/score_embedded.py --model "$work/export-$name" --json "$@" >"$work/score.log" || return $?
    "$python" -c 'import json, sys; from tools.bench.measurement import describe_run
line = open(sys.argv[1]).read().strip().splitlines()[-1]
print(json.dumps(describe_run() | {"command": sys.argv[2]} | json.loads(line)))' "$work/score.log" \
      "python tools/checks/score_embedded.py --model export-$name --json $*" >"$work/results/score-$name.json"
  done
  "$python" tools/cards/readme_figures.py --results "$work/results" --show
}

small() {  # options that make a stage the least there is; XLA on CPUs has not all products of bfloat16
  local least="--pairs 64 --workers 1 --model.dit.dtype float32 --model.flow.steps 1"
  for name in vae text base edit; do least+=" --$name.steps 2 --$name.batch 2"; done
  case $1 in
    speed) echo --tiny ;;
    embedded | one_way) echo "$least" ;;
    score) echo --pairs 2 --flicker-pairs 0 ;;
    ablate) echo --groups rank --seeds 0 --steps 2 --scored 2 "$least" ;;
  esac
}

one() {
  local name=$1; shift
  if [ -n "${SMALL:-}" ]; then read -ra more <<<"$(small "$name")"; set -- "${more[@]}" "$@"; fi
  case $name in
    speed) within "$python" tools/bench/accelerator.py --out "$work/results/speed.json" --slice "$((limit - SECONDS - 2 * margin))" "$@" || return $?
           "$python" tools/bench/accelerator.py --out "$work/results/speed.json" --left "$@" || return 75 ;;
    embedded) train full experiments/embedded_gpu.py "$@" ;;
    one_way) train one_way experiments/embedded_gpu_one_way.py "$@" ;;
    score) score "$@" ;;
    ablate) within "$python" tools/ablation/ablate.py --workdir "$work" --out "$work/results" "${sets[@]}" "$@" ;;
  esac
}

case $stage in
  wheels) fetch_wheels "$carry/wheels" $wheels
    fetch_wheels "$carry/wheels-speed" $wheels_speed
    fetch_wheels "$carry/wheels-physics" $wheels_physics ;;
  physics)
    if ls -d "$carry"/wheels* >/dev/null 2>&1; then install; fi
    "$python" -m v2v synth --out "$work/physics" --pairs "${1:-2000}" --recipes physics --frames "${FRAMES:-17}" --height "${SIDE:-128}" \
      --width "${SIDE:-128}" --transition 0 --workers "${WORKERS:-$(nproc)}"
    du -sh "$work/physics" ;;
  install) install; restore; echo "all done" ;;
  speed | embedded | one_way | score | ablate | all)
    install; restore; trap pack EXIT
    todo=$stage; if [ "$stage" = all ]; then todo="speed embedded one_way score ablate"; fi
    for name in $todo; do
      code=0; one "$name" "$@" || code=$?
      if ((code == 75)); then echo "slice over in stage $name: run again"; fi
      if ((code)); then exit "$code"; fi
      echo "stage $name: done"
    done
    echo "all done" ;;
  *) sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//' ;;
esac
