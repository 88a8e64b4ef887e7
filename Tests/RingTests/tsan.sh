#!/usr/bin/env bash
# The ring under the thread sanitizer: the sound ring must be clean, and the ring with any one of its
# acquiring or releasing orderings weakened to relaxed (a mutant, made here from the same source) must
# be reported as a data race. A mutant that passes means that the test is blind or the ordering idle.
# Builds Model, Ring and the driver directly, in SCRATCH (a new temporary folder unless it is set).
# Prints one line a ring and `N passed, N failed`; exit 0 when none failed.
# Not static: --static-swift-stdlib and the sanitizer abort together.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
if [[ -z ${SCRATCH:-} ]]; then
    SCRATCH=$(mktemp -d)
    trap 'rm -rf "$SCRATCH"' EXIT
fi
mkdir -p "$SCRATCH"

# -O: the standard library's Span is only seen by the sanitizer when it is specialised into our code.
flags=(-swift-version 6 -package-name sluice -O -wmo -sanitize=thread -g -strict-memory-safety
    -enable-upcoming-feature InternalImportsByDefault -enable-experimental-feature Lifetimes
    -I "$SCRATCH")
passed=0
failed=0

broken() {
    echo "tsan.sh: $1: does not build: see above" >&2
    exit 1
}

compile() { # module object sources...
    local module=$1 object=$2
    shift 2
    swiftc "${flags[@]}" -parse-as-library -module-name "$module" -emit-module \
        -emit-module-path "$SCRATCH/$module.swiftmodule" -c -o "$SCRATCH/$object" "$@"
}

# Builds the driver against the ring in object $1, whose small functions it takes in, runs it and tells
# what came of it. Sets `status` and `races`.
run() {
    swiftc "${flags[@]}" -module-name driver -c -o "$SCRATCH/driver.o" \
        "$here/Transfer.swift" "$here/tsan/main.swift" || broken "the driver with $1"
    swiftc -sanitize=thread -o "$SCRATCH/driver" \
        "$SCRATCH/model.o" "$SCRATCH/$1" "$SCRATCH/driver.o" || broken "$1"
    TSAN_OPTIONS="halt_on_error=1 exitcode=66" SWIFT_BACKTRACE=enable=no \
        timeout 120 "$SCRATCH/driver" >"$SCRATCH/out" 2>&1
    status=$?
    races=$(grep -c 'WARNING: ThreadSanitizer: data race' "$SCRATCH/out")
}

report() { # ok|bad text
    if [[ $1 == ok ]]; then
        passed=$((passed + 1))
        echo "ok: $2"
    else
        failed=$((failed + 1))
        echo "FAILED: $2 (exit $status)"
        tail -n 20 "$SCRATCH/out" | sed 's/^/    /'
    fi
}

compile Model model.o "$root"/Sources/Model/*.swift || broken Model
compile Ring ring.o "$root"/Sources/Ring/*.swift || broken Ring

run ring.o
if [[ $status == 0 && $races == 0 ]]; then
    report ok "sound ring: no data race"
else
    report bad "sound ring: $races data races"
fi

mutants=0
while IFS=: read -r line text; do
    mutants=$((mutants + 1))
    ordering=$(grep -oE '\.(acquiring|releasing)' <<<"$text")
    sed -E "${line}s/\.(acquiring|releasing)\)/.relaxed)/" "$root/Sources/Ring/Ring.swift" \
        >"$SCRATCH/Mutant.swift"
    compile Ring mutant.o "$SCRATCH/Mutant.swift" || broken "mutant of line $line"
    run mutant.o
    if [[ $status != 0 && $races -gt 0 ]]; then
        report ok "mutant, line $line $ordering weakened: data race reported"
    else
        report bad "mutant, line $line $ordering weakened: no data race reported"
    fi
done < <(grep -nE 'ordering: \.(acquiring|releasing)\)' "$root/Sources/Ring/Ring.swift")

if [[ $mutants == 0 ]]; then
    status=0
    : >"$SCRATCH/out"
    report bad "no ordering found to weaken in Sources/Ring/Ring.swift"
fi
echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
