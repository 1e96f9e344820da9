#!/bin/sh
# Install medseg into a virtual environment with every package at the version of uv.lock, checked by its hash:
#   sh docker/install.sh FOLDER cpu|cuda EXTRA...
# With `cpu`, torch comes from TORCH_INDEX in the locked version, and nothing of CUDA is installed.
set -eu
folder=$1 kind=$2
shift 2

python3 -m venv /tmp/uv
/tmp/uv/bin/pip install --quiet "uv==0.13.9"
uv=/tmp/uv/bin/uv

extras=""
for extra in "$@"; do extras="$extras --extra $extra"; done
# shellcheck disable=SC2086
$uv export --quiet --frozen --no-dev --no-emit-project --no-annotate $extras >/tmp/locked.txt

$uv venv --quiet "$folder"
if [ "$kind" = cpu ]; then
  torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' /tmp/locked.txt | head -n 1)
  # a package is a line and the indented lines of its hashes
  awk '/^[a-z]/ { left_out = /^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)[ =[]/ } !left_out' /tmp/locked.txt >/tmp/locked-cpu.txt
  mv /tmp/locked-cpu.txt /tmp/locked.txt
  $uv pip install --quiet --no-cache --python "$folder/bin/python" --no-deps \
    --default-index "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" "$torch"
fi
$uv pip install --quiet --no-cache --python "$folder/bin/python" --no-deps --require-hashes -r /tmp/locked.txt
$uv pip install --quiet --no-cache --python "$folder/bin/python" --no-deps .
rm -rf /tmp/uv /tmp/locked.txt
