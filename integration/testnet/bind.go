package testnet

import (
	"errors"
	"syscall"
	"time"
)

// Bind runs f, which opens a socket on a port that may be fixed, inside the
// namespace. A socket that was closed just before can hold the port for a moment:
// a program that another test starts has a copy of it between fork and exec.
func (ns *NS) Bind(f func() error) error {
	for deadline := time.Now().Add(Patience); ; time.Sleep(poll) {
		err := ns.Do(f)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return err
		}
	}
}
