package nsgtest

import (
	"syscall"
	"testing"
	"time"
)

// Processor is the time that this process has had of the processors so far, which
// on a busy machine tells more than the clock does.
func Processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
