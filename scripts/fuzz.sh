#!/usr/bin/env bash
# Runs every fuzz target of all modules, each for the given time (default 10s):
# go test takes one target of one package at a time, from within its module.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}
count=0
while IFS=: read -r file target; do
	printf '%s %s\n' "$target" "./$(dirname "$file")"
	# Without a bound, making inputs smaller takes most of the time of some targets.
	(cd "$(dirname "$file")" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x .)
	count=$((count + 1))
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -ho --with-filename '^func Fuzz[A-Za-z0-9_]*' | sed 's/:func /:/')
printf '%d fuzz targets, %s each\n' "$count" "$time"
[[ $count -gt 0 ]]
