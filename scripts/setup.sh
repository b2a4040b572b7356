#!/usr/bin/env bash
# Installs what the build and the tests need: Debian packages, the test runner, and a Python environment.
# Runs again at no cost: it looks before it installs.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${TARN_VENV:-$HOME/.cache/tarn/venv}"
requirements=tests/python/requirements.txt
# Of the public reader of segment files, which needs other versions of its packages than the tests do.
vortex_requirements=tests/python/requirements-vortex.txt

# --- Debian packages -------------------------------------------------------------------------------------------------
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}
if command -v dpkg-query >/dev/null; then
    missing=()
    for package in libclang-dev clang cmake gcc g++ make pkg-config python3-venv; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing+=("$package")
        fi
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        echo "setup: installing ${missing[*]}"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
fi

# --- Rust ------------------------------------------------------------------------------------------------------------
if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing: install Rust (1.95 or later) first" >&2
    exit 1
fi
if ! command -v cargo-nextest >/dev/null; then
    echo "setup: installing cargo-nextest (takes some minutes)"
    cargo install cargo-nextest --locked --quiet
fi

# --- Python ----------------------------------------------------------------------------------------------------------
if [ ! -x "$venv/bin/python" ]; then
    echo "setup: making a Python environment in $venv"
    python3 -m venv "$venv"
fi
if ! cmp -s "$requirements" "$venv/requirements.installed"; then
    echo "setup: installing Python packages"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/requirements.installed"
fi
if ! cmp -s "$vortex_requirements" "$venv-vortex/requirements.installed"; then
    echo "setup: installing the public reader of segment files"
    [ -x "$venv-vortex/bin/python" ] || python3 -m venv "$venv-vortex"
    "$venv-vortex/bin/python" -m pip install --quiet --disable-pip-version-check -r "$vortex_requirements"
    cp "$vortex_requirements" "$venv-vortex/requirements.installed"
fi
