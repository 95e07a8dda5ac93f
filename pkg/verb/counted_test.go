package verb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/tally"
)

// What the runtime is told is counted, and nothing is changed about it.
func TestVerbsAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	results := []error{nil, cnierr.Errorf(cnierr.TryAgain, "later"), errors.New("no code"), nil}
	stdin := fmt.Appendf(nil, `{"name":"pods","stateDir":%q,"nobody knows":1}`, dir)
	for _, want := range results {
		got := Counted(tally.Del, AsIs, func(*skel.CmdArgs) error { return want })(&skel.CmdArgs{StdinData: stdin})
		if !errors.Is(got, want) {
			t.Errorf("%v became %v", want, got)
		}
	}
	all, err := tally.Read(dir, "pods")
	if err != nil {
		t.Fatal(err)
	}
	c := all.Verbs[tally.Del]
	if c.Count != uint64(len(results)) || len(c.Errors) != 2 || c.Errors[cnierr.TryAgain] != 1 || c.Errors[cnierr.Kernel] != 1 {
		t.Errorf("%+v", c)
	}
	t.Logf("%d verbs", c.Count)
}

// A configuration that nobody can read is counted nowhere.
func TestCountedNowhere(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	rows := []struct{ stdin, stateDir, network string }{
		{`{"name":"pods"}`, netconf.DefaultStateDir, "pods"},
		{`{"name":"pods","stateDir":"/a"}`, "/a", "pods"},
		{`{"name":"pods","stateDir":"a"}`, "", ""},
		{`{"name":"pods","stateDir":7}`, "", ""},
		{`{"name":7}`, "", ""},
		{`{}`, netconf.DefaultStateDir, ""},
		{`{`, "", ""},
		{``, "", ""},
	}
	for _, row := range rows {
		if dir, network := countedIn([]byte(row.stdin)); dir != row.stateDir || network != row.network {
			t.Errorf("%s: %q, %q", row.stdin, dir, network)
		}
	}
	verb := Counted(tally.Add, AsIs, func(*skel.CmdArgs) error { return nil })
	if err := verb(&skel.CmdArgs{StdinData: fmt.Appendf(nil, `{"name":"pods","stateDir":%q}`, outside)}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(outside); !os.IsNotExist(err) {
		t.Errorf("the state directory: %v", err)
	}
	t.Logf("%d configurations", len(rows)+1)
}
