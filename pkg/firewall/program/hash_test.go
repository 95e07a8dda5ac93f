package program

import (
	"fmt"
	"testing"
)

func TestHashSpreads(t *testing.T) {
	seen := map[string]bool{}
	const n = 200_000
	for i := range n {
		seen[Hash(fmt.Sprint("network-", i))] = true
	}
	if len(seen) != n {
		t.Errorf("%d names have %d hashes", n, len(seen))
	}
	t.Logf("%d hashes", len(seen))
}
