#!/usr/bin/env bash
# Runs every fuzz target of all modules, each for the given time (default 10s):
# go test takes one target of one package at a time, from within its module.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}
count=0

# fuzz FOLDER TARGET: go test also fails when its time is over at the wrong moment; a
# fault of ours comes with the input that shows it. Without a bound, making inputs
# smaller takes most of the time of some targets.
fuzz() {
	local out
	if ! out=$(cd "$1" && go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 10x . 2>&1); then
		printf '%s\n' "$out"
		if [[ $out == *"hung or terminated unexpectedly"* && $out =~ (testdata/fuzz/|corpus entry: )("$2"/[0-9a-z#]+) ]]; then
			alone "$1" "${BASH_REMATCH[2]}"
			return
		fi
		[[ $out == *"context deadline exceeded"* && $out != *"Failing input"* ]]
		return
	fi
	tail -2 <<<"$out"
}

# alone FOLDER INPUT: the fuzzer takes an input for endless that is not over after 10 s,
# which on a busy machine any may be. One that is a fault is so without the fuzzer, too.
alone() {
	printf 'run alone: %s\n' "$2"
	(cd "$1" && go test -count=1 -timeout 10m -run "^$2\$" .)
	git ls-files --error-unmatch "$1/testdata/fuzz/$2" >/dev/null 2>&1 || rm -f "$1/testdata/fuzz/$2"
}

while IFS=: read -r file target; do
	printf '%s %s\n' "$target" "./$(dirname "$file")"
	fuzz "$(dirname "$file")" "$target"
	count=$((count + 1))
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -ho --with-filename '^func Fuzz[A-Za-z0-9_]*' | sed 's/:func /:/')
printf '%d fuzz targets, %s each\n' "$count" "$time"
[[ $count -gt 0 ]]
