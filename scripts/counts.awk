# Reads `go test -v` and prints what each test says it did, after the test's name;
# of the rest only failures and the packages' results.
/^=== / { name = $3; next }
/^ *--- (PASS|SKIP)|^PASS$|^\?/ { if ($2 == "SKIP:") print; next }
/^ +[a-z0-9_]+_test\.go:[0-9]+: / { line = $0; sub(/^ +[^ ]+ /, "", line); printf "  %-46s %s\n", name, line; fflush(); next }
{ print; fflush() } # a log file shows where an hour's test is
