# shellcheck shell=bash disable=SC2034  # its variables are for those who source it
# Functions of the scripts in this folder, which source this file.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Where the scripts build, and where they put what they made.
target_directory="$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-$root/target}")/packaging"
dist="${DIST:-$target_directory/dist}"

# The time that all files of a package get: that of the last commit, which files of a source archive have too.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH="$(git -C "$root" log -1 --format=%ct 2> /dev/null || stat --format=%Y "$root/Cargo.toml")"
fi
export SOURCE_DATE_EPOCH
# The order of sorted names, and the texts of tools, must not depend on who runs a script.
export LC_ALL=C TZ=UTC

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# The version of the workspace.
version() {
  sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml"
}

# compile TARGET LINKAGE PROFILE: builds the broker for a target of rustc, as a "static" or "dynamic" binary. Its path is in `binary`.
#
# Paths of this machine are kept out of the binary, so that the same commit gives the same bytes in another directory.
compile() {
  local target="$1" linkage="$2" profile="$3"
  local build="$target_directory/$linkage" cargo="${CARGO_HOME:-$HOME/.cargo}" name="${1//-/_}"
  local -a flags=(
    "--remap-path-prefix=$root=/usr/src/oncemq"
    "--remap-path-prefix=$build=/usr/src/target"
    "--remap-path-prefix=$cargo=/usr/src/cargo"
  )
  if [ "$linkage" = static ]; then
    # A static binary can't look up `getrandom` at run time: without the second flag, it would need /dev/random.
    flags+=(-C target-feature=+crt-static --cfg 'getrandom_backend="linux_getrandom"')
  fi
  local -x CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR="$build" CARGO_INCREMENTAL=0
  # C compilers get the same time for every commit: crates with C code are compiled again when it changes, and all that needs them.
  local -x SOURCE_DATE_EPOCH=1000000000
  CARGO_ENCODED_RUSTFLAGS="$(IFS=$'\x1f' && echo "${flags[*]}")"
  local -x "CFLAGS_$name=-ffile-prefix-map=$cargo=/usr/src/cargo -ffile-prefix-map=$build=/usr/src/target"
  case "$target" in
    x86_64-unknown-linux-gnu) ;;
    x86_64-unknown-linux-musl) local -x "CC_$name=musl-gcc" ;;
    aarch64-unknown-linux-gnu)
      local -x CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
      ;;
    *) fail "no compiler is known for $target" ;;
  esac
  (cd "$root" && cargo build --locked --package oncemq --bin oncemq --features otlp --target "$target" --profile "$profile")
  local folder="$profile"
  if [ "$profile" = dev ]; then folder=debug; fi
  binary="$build/$target/$folder/oncemq"
}

# strip_to TARGET FROM TO: copies a binary without its symbols and debug information.
strip_to() {
  local prefix=""
  case "$1" in
    aarch64-*) prefix=aarch64-linux-gnu- ;;
  esac
  "${prefix}strip" --strip-all -o "$3" "$2"
  chmod 0755 "$3"
}

# pack FOLDER ARCHIVE: a .tar.gz of a folder with one time, one owner and sorted names.
pack() {
  tar --create --directory "$(dirname "$1")" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
    --mtime="@$SOURCE_DATE_EPOCH" "$(basename "$1")" | gzip --no-name --best > "$2"
}
