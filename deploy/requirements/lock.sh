#!/usr/bin/env bash
# Writes every hashed requirement lock again from its .in file. Usage: lock.sh path/to/uv
set -euo pipefail
cd "$(dirname "$0")"
uv=$1
compile() { "$uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@"; }
compile --python-version 3.11 tools.in -o tools.txt
compile --python-version 3.11 app.in -o app.txt
compile --python-version 3.11 -c app.txt dev.in -o dev.txt
compile --python-version 3.11 nlu.in -o nlu.txt
compile --python-version 3.10 rasa.in -o rasa.txt
compile --python-version 3.11 --overrides vllm.overrides vllm.in -o vllm.txt
compile --python-version 3.11 -c vllm.txt train.in -o train.txt
