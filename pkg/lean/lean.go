// Package lean fits the Go runtime, when imported for its effect, to a process that
// is one goroutine and lives for milliseconds.
//
// It must import nothing but runtime: packages are initialised in the order of
// their paths as soon as what they import is (Go specification, "Program
// initialization"; cmd/link, inittask.go), which makes this one the first. Later
// the main goroutine may have moved to the processor that is given up, and
// leaves its memory caches there: 40 page faults more.
package lean

import "runtime"

// One processor: with a second one the runtime wakes a thread to look for work
// whenever anything becomes runnable.
var _ = runtime.GOMAXPROCS(1)

// A stack that will do for a verb: it begins with 2 KiB, and would be copied
// and its frames be searched for pointers each time that it has to be doubled.
var _ = useStack(0)

//go:noinline
func useStack(i int) byte {
	var frame [24 << 10]byte
	return frame[i]
}
