#!/usr/bin/env bash
# Installs the Debian packages that building needs, with "test" those of the tests too, and the
# others named as arguments; silent and quick when all are there.
set -euo pipefail

packages=(
  clang-16 lld-16 cmake ninja-build ccache libboost-dev libssl-dev nlohmann-json3-dev
  libyaml-cpp-dev libcli11-dev libspdlog-dev libfmt-dev libflatbuffers-dev flatbuffers-compiler
  libpcre2-dev libutf8proc-dev libxxhash-dev libzstd-dev libgtest-dev libgmock-dev
  libbenchmark-dev python3
)
if [ "${1:-}" = test ]; then
  shift
  packages+=(clang-format-16 clang-tidy-16 llvm-16 libclang-rt-16-dev
    python3-dev python3-venv pybind11-dev)
fi
packages+=("$@")

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
    missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}; this script installs them with apt-get only — install their" \
    "equivalents and run cmake --preset release" >&2
  exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then sudo="sudo"; fi
echo "installing: ${missing[*]}" >&2
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends \
  "${missing[@]}" >/dev/null
