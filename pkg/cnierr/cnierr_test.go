package cnierr

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"pgregory.net/rapid"

	"github.com/vnet-cni/vnet-cni/ipam"
)

var codes = []uint{
	IncompatibleVersion, UnsupportedField, UnknownContainer, Environment, IO, Decode, Config, TryAgain, Unavailable,
	Sandbox, Kernel, Uplink, AddressTaken, InterfaceTaken, Store, Firewall, Check, Delegate, Documents, Forbidden, Unfiltered,
}

// The numbers are a promise to runtimes and documentation.
func TestCodes(t *testing.T) {
	want := "[1 2 3 4 5 6 7 11 50 100 101 102 103 104 105 106 107 108 109 110 111]"
	if got := fmt.Sprint(codes); got != want {
		t.Errorf("codes %s, want %s", got, want)
	}
	t.Logf("%d codes", len(codes))
}

// wrappings are the ways in which an error travels up.
var wrappings = []func(error) error{
	func(err error) error { return fmt.Errorf("attach c1: %w", err) },
	func(err error) error { return errors.Join(errors.New("first"), err) },
	func(err error) error { return fmt.Errorf("%w (and %w)", err, errors.New("more")) },
	func(err error) error { return Wrap(Kernel, err) },
	func(err error) error { return Wrap(Store, err) },
	OfStore,
}

func TestCodesSurviveWrapping(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		code := rapid.SampledFrom(codes).Draw(t, "code")
		cause := fmt.Errorf("open the file: %w", fs.ErrPermission)
		var err error
		switch rapid.IntRange(0, 2).Draw(t, "origin") {
		case 0:
			err = Wrap(code, cause)
		case 1:
			err = Errorf(code, "begin: %w", cause)
		default:
			err = types.NewError(code, cause.Error(), "the details")
			cause = nil
		}
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(wrappings)-1), 0, 8).Draw(t, "wrappings") {
			err = wrappings[i](err)
		}
		o := Object(err)
		if o.Code != code {
			t.Fatalf("%v has code %d, want %d", err, o.Code, code)
		}
		if cause != nil && !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("%v has lost its cause", err)
		}
		if cause == nil && o.Details != "the details" {
			t.Fatalf("%v has lost its details", err)
		}
		if o.Msg != err.Error() || !strings.Contains(o.Msg, "permission denied") {
			t.Fatalf("the object says %q, the error %q", o.Msg, err)
		}
	})
	t.Logf("%d chains", count)
}

func TestWrapKeepsTheInnermost(t *testing.T) {
	cause := errors.New("cause")
	inner := Wrap(Firewall, cause)
	outer := Wrap(Store, fmt.Errorf("x: %w", inner))
	var coded *Error
	if !errors.As(outer, &coded) || coded.Code != Firewall || !errors.Is(outer, cause) || outer.Error() != "x: cause" {
		t.Errorf("%v: %+v", outer, coded)
	}
	if err := Wrap(Store, nil); err != nil {
		t.Errorf("Wrap of nil: %v", err)
	}
	if err := Errorf(Store, "read %s: %w", "f", cause); err.Error() != "read f: cause" || !errors.Is(err, cause) {
		t.Errorf("Errorf: %v", err)
	}
	t.Log("4 errors")
}

// A runtime must always be able to tell what failed: 0 is no error and 999 says nothing.
func TestObjectAlwaysHasACode(t *testing.T) {
	foreign := func(code uint) error { return &types.Error{Code: code, Msg: "netplugin failed"} }
	rows := []struct {
		what string
		err  error
		want uint
	}{
		{"no code at all", errors.New("x"), Kernel},
		{"joined, no code", errors.Join(errors.New("x"), errors.New("y")), Kernel},
		{"the file system's", fs.ErrPermission, Kernel},
		{"joined, the first coded counts", errors.Join(errors.New("x"), Wrap(Store, errors.New("y")), Wrap(Uplink, errors.New("z"))), Store},
		{"another plugin's own code", Wrap(Delegate, fmt.Errorf("ADD: %w", foreign(11))), TryAgain},
		{"another plugin that died without an object", Wrap(Delegate, fmt.Errorf("ADD: %w", foreign(0))), Delegate},
		{"another plugin's catch-all", Wrap(Delegate, fmt.Errorf("ADD: %w", foreign(types.ErrInternal))), Delegate},
	}
	for _, row := range rows {
		if o := Object(row.err); o.Code != row.want {
			t.Errorf("%s: code %d, want %d", row.what, o.Code, row.want)
		}
	}
	for _, err := range []error{foreign(0), foreign(types.ErrInternal), fmt.Errorf("x: %w", foreign(0)), &Error{Err: errors.New("x")}} {
		if o := Object(err); o.Code == 0 || o.Code == types.ErrInternal {
			t.Errorf("%v (%T): code %d", err, err, o.Code)
		}
	}
	t.Logf("%d errors", len(rows)+4)
}

func TestObjectAsJSON(t *testing.T) {
	b, err := json.Marshal(Object(Errorf(Config, "mtu: value %d is too small", 1)))
	const want = `{"code":7,"msg":"mtu: value 1 is too small"}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v; want %s", b, err, want)
	}
	t.Log("1 object")
}

func TestOfStore(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	rows := []struct {
		err  error
		want uint
	}{
		{ipam.ErrNoFree, TryAgain},
		{&ipam.NoFreeError{Network: "pods", Subnet: netip.MustParsePrefix("10.0.0.0/24")}, TryAgain},
		{ipam.ErrLocked, TryAgain},
		{ipam.ErrTaken, AddressTaken},
		{&ipam.TakenError{Addr: a}, AddressTaken},
		{ipam.ErrOutside, Config},
		{&ipam.OutsideError{Addr: a, Why: "is in none of the pools"}, Config},
		{ipam.ErrDamaged, Store},
		{fs.ErrPermission, Store},
		{errors.New("anything"), Store},
		{Wrap(Uplink, ipam.ErrNoFree), Uplink}, // the place closest to the fault knows best
	}
	for _, row := range rows {
		for _, err := range []error{row.err, fmt.Errorf("leasing: %w", row.err)} {
			got := OfStore(err)
			if !errors.Is(got, row.err) || got.Error() != err.Error() || Object(got).Code != row.want {
				t.Errorf("OfStore(%v) = %v, code %d; want %d", err, got, Object(got).Code, row.want)
			}
		}
	}
	if err := OfStore(nil); err != nil {
		t.Errorf("OfStore(nil) = %v", err)
	}
	t.Logf("%d errors, bare and wrapped", len(rows))
}
