package ipam

import (
	"errors"
	"fmt"
	"net/netip"
)

// What a caller may want to tell apart, with errors.Is.
var (
	// ErrNoFree means that every address of a pool is leased; a *NoFreeError says which pool.
	ErrNoFree = errors.New("no free address")
	// ErrTaken means that an address is leased to another key; a *TakenError says to whom.
	ErrTaken = errors.New("address is leased to another attachment")
	// ErrOutside means that a fixed address cannot be leased at all; an *OutsideError says why.
	ErrOutside = errors.New("address cannot be leased")
	// ErrLocked means that another process held the store until the deadline.
	ErrLocked = errors.New("lease store is locked by another process")
	// ErrDamaged means that the store's file is unreadable and nothing is known to rebuild it from.
	ErrDamaged = errors.New("lease store is damaged")
)

// FieldError is a value of the configuration that cannot be used.
type FieldError struct {
	Field  string // "subnet", "ranges[2]", "pools[1].ranges[0]"
	Value  string // as it was given
	Reason string // a predicate: "is reversed"
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %q %s", e.Field, e.Value, e.Reason) }

// NoFreeError is a pool without a free address.
type NoFreeError struct {
	Network string
	Subnet  netip.Prefix
	Size    uint64 // addresses that the pool can lease
}

func (e *NoFreeError) Error() string {
	return fmt.Sprintf("network %s: no free address in the pool of %v (%d addresses)", e.Network, e.Subnet, e.Size)
}

// Is makes the error match ErrNoFree.
func (e *NoFreeError) Is(target error) bool { return target == ErrNoFree }

// TakenError is an address that another key holds.
type TakenError struct {
	Addr  netip.Addr
	Owner Key
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("address %v is leased to container %s, interface %s", e.Addr, e.Owner.ContainerID, e.Owner.IfName)
}

// Is makes the error match ErrTaken.
func (e *TakenError) Is(target error) bool { return target == ErrTaken }

// OutsideError is a fixed address that no pool of the request can lease.
type OutsideError struct {
	Addr netip.Addr
	Why  string // a predicate: "is in none of the pools"
}

func (e *OutsideError) Error() string { return fmt.Sprintf("fixed address %v %s", e.Addr, e.Why) }

// Is makes the error match ErrOutside.
func (e *OutsideError) Is(target error) bool { return target == ErrOutside }

// damage is a fault found in the file's contents, as opposed to one of the
// file system. It never leaves the package.
type damage struct{ what string }

func (d *damage) Error() string { return d.what }

func damaged(format string, args ...any) error { return &damage{fmt.Sprintf(format, args...)} }
