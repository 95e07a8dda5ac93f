// Package cnierr gives errors the codes that the CNI specification asks of a
// plugin, so that a runtime can tell what failed without reading English.
//
// It knows the codes, the lease store's errors, and how an error turns into the
// object that a plugin prints. It must not know any verb or kernel interface.
package cnierr

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
)

// Codes of the CNI specification 1.1.0, section "Error". Values from 100 up
// are the plugin's own; docs/configuration.md lists them for users.
const (
	IncompatibleVersion = types.ErrIncompatibleCNIVersion      // 1
	UnsupportedField    = types.ErrUnsupportedField            // 2: the key and its value are named
	UnknownContainer    = types.ErrUnknownContainer            // 3
	Environment         = types.ErrInvalidEnvironmentVariables // 4: CNI_* missing or malformed
	IO                  = types.ErrIOFailure                   // 5
	Decode              = types.ErrDecodingFailure             // 6: not JSON, or a value of the wrong type
	Config              = types.ErrInvalidNetworkConfig        // 7: decodes, but cannot be
	TryAgain            = types.ErrTryAgainLater               // 11: no free address, a lock that did not come in time, or a namespace that is not known yet

	Unavailable uint = 50 // STATUS only

	Sandbox        uint = 100 // the pod's network namespace is missing or is not one
	Kernel         uint = 101 // the kernel refused a link, address, route, neighbour or sysctl
	Uplink         uint = 102 // no uplink, or the configured one is gone
	AddressTaken   uint = 103 // an address is another attachment's or the node's
	InterfaceTaken uint = 104 // CNI_IFNAME exists in the pod and is not this attachment's
	Store          uint = 105 // the lease store cannot be read, written or rebuilt
	Firewall       uint = 106 // iptables or ipset failed
	Check          uint = 107 // CHECK found damage
	Delegate       uint = 108 // a delegated IPAM plugin failed without a code of its own
	Documents      uint = 109 // the documents of security groups, or the group asked for, cannot be used
	Forbidden      uint = 110 // the pod may not choose the security group that it asks for
	Unfiltered     uint = 111 // the pod's packets do not pass the node's packet filter, or not all of them
)

// Error is an error with the code that the runtime will be given.
type Error struct {
	Code uint
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error that the code was given to.
func (e *Error) Unwrap() error { return e.Err }

// Errorf formats like fmt.Errorf, %w included, and gives the result code.
func Errorf(code uint, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Wrap gives err the code unless something in its chain has one already: the
// place closest to the fault knows best. Wrap of nil is nil.
func Wrap(code uint, err error) error {
	if err == nil {
		return nil
	}
	var coded *Error
	var cni *types.Error
	if errors.As(err, &coded) || errors.As(err, &cni) && telling(cni.Code) {
		return err
	}
	return &Error{Code: code, Err: err}
}

// telling reports whether a code says anything: the CNI library gives 0 to a
// plugin that died without an error object, and 999 is the catch-all.
func telling(code uint) bool { return code != types.ErrUnknown && code != types.ErrInternal }

// Object returns the CNI error object for err, with the whole chain's message.
// An error without a code is the kernel's: every other source gives its own.
func Object(err error) *types.Error {
	var coded *Error
	if errors.As(err, &coded) && telling(coded.Code) {
		return types.NewError(coded.Code, err.Error(), "")
	}
	var cni *types.Error
	if errors.As(err, &cni) && telling(cni.Code) {
		return types.NewError(cni.Code, err.Error(), cni.Details)
	}
	return types.NewError(Kernel, err.Error(), "")
}
