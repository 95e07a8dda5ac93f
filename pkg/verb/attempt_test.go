package verb

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// An ADD takes its steps in turn. One that fails ends it, and what was done is reverted;
// after success nothing is.
func TestAttempt(t *testing.T) {
	_, pod := testhost.Beside(t, "pod")
	testhost.Enter(t)
	c := &Call{Netns: pod, Conf: &netconf.Conf{StateDir: t.TempDir()}}
	failure := errors.New("refused")
	for _, row := range []struct {
		fails string
		ran   []string
	}{
		{"", []string{"a", "b", "c"}},
		{"a", []string{"a", "undo a"}},
		{"b", []string{"a", "b", "undo b", "undo a"}},
		{"c", []string{"a", "b", "c", "undo c", "undo b", "undo a"}},
	} {
		var ran []string
		add := func() (err error) {
			a, err := c.Begin()
			if err != nil {
				return err
			}
			defer a.End(&err)
			step := func(name string) func() error {
				return func() error {
					ran = append(ran, name)
					a.Undo.Push("undo "+name, func() error {
						ran = append(ran, "undo "+name)
						return nil
					})
					if name == row.fails {
						return failure
					}
					return nil
				}
			}
			return a.Take(step("a"), step("b"), step("c"))
		}
		if err := add(); (row.fails != "") != errors.Is(err, failure) || row.fails == "" && err != nil {
			t.Errorf("%q fails: %v", row.fails, err)
		}
		if !slices.Equal(ran, row.ran) {
			t.Errorf("%q fails: ran %q, want %q", row.fails, ran, row.ran)
		}
	}
	t.Log("4 ADDs")
}

// Without the pod's namespace an ADD does not begin.
func TestBeginWithoutSandbox(t *testing.T) {
	testhost.Enter(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nowhere", file, "/proc/thread-self/ns/net"} {
		c := &Call{Netns: path, Conf: &netconf.Conf{}}
		if _, err := c.Begin(); err == nil || cnierr.Object(err).Code != cnierr.Sandbox || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	t.Log("3 paths")
}
