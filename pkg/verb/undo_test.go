package verb

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// stack gives an undo of steps that write down their names; those whose names
// are in failing fail. A name that begins with "record" is the record's.
func stack(names []string, failing map[string]error) (*Undo, *[]string) {
	var u Undo
	var ran []string
	for _, name := range names {
		push := u.Push
		if strings.HasPrefix(name, "record") {
			push = u.PushRecord
		}
		push("undo "+name, func() error {
			ran = append(ran, name)
			return failing[name]
		})
	}
	return &u, &ran
}

func TestUndo(t *testing.T) {
	cause := errors.New("the cause")
	busy, gone := errors.New("busy"), errors.New("gone")
	rows := []struct {
		what    string
		names   []string
		failing map[string]error
		ran     []string
	}{
		{"nothing to undo", nil, nil, nil},
		{"last first", []string{"record", "a", "b"}, nil, []string{"b", "a", "record"}},
		{"a failure stops no other step", []string{"a", "b", "c"}, map[string]error{"b": busy}, []string{"c", "b", "a"}},
		{"but the record stays", []string{"record", "a", "b"}, map[string]error{"b": busy}, []string{"b", "a"}},
		{"all failures are told", []string{"record", "a", "b"}, map[string]error{"a": gone, "b": busy}, []string{"b", "a"}},
		{"the record's own failure", []string{"record", "a"}, map[string]error{"record": busy}, []string{"a", "record"}},
		{"a later record does not keep others", []string{"a", "record"}, map[string]error{"a": busy}, []string{"record", "a"}},
	}
	for _, row := range rows {
		u, ran := stack(row.names, row.failing)
		coded := cnierr.Wrap(cnierr.Firewall, cause)
		err := u.Unwind(coded)
		if !slices.Equal(*ran, row.ran) {
			t.Errorf("%s: ran %q, want %q", row.what, *ran, row.ran)
		}
		if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "the cause") || cnierr.Object(err).Code != cnierr.Firewall {
			t.Errorf("%s: %v with code %d has lost its cause", row.what, err, cnierr.Object(err).Code)
		}
		if len(row.failing) == 0 && err != coded {
			t.Errorf("%s: %v is not the cause alone", row.what, err)
		}
		for name, failed := range row.failing {
			if !errors.Is(err, failed) || !strings.Contains(err.Error(), "undo "+name) {
				t.Errorf("%s: %v does not tell the failure of %s", row.what, err, name)
			}
		}
		*ran = nil
		if again := u.Unwind(cause); again != cause || len(*ran) != 0 {
			t.Errorf("%s: unwound twice: %v, %v", row.what, again, *ran)
		}
	}
	t.Logf("%d stacks", len(rows))
}

// The rollback's own coded errors never hide why ADD failed.
func TestUndoKeepsTheCausesCode(t *testing.T) {
	u, _ := stack([]string{"a"}, map[string]error{"a": cnierr.Errorf(cnierr.Kernel, "busy")})
	if err := u.Unwind(cnierr.Errorf(cnierr.TryAgain, "full")); cnierr.Object(err).Code != cnierr.TryAgain {
		t.Errorf("%v has code %d", err, cnierr.Object(err).Code)
	}
	t.Log("1 stack")
}

// With nothing to take back nobody waits for what surrounds it, as for a lock.
func TestUndoOfNothing(t *testing.T) {
	cause := errors.New("the cause")
	for _, names := range [][]string{nil, {"a"}} {
		u, ran := stack(names, nil)
		surrounded := 0
		err := u.UnwindBy(cause, func(unwind func() error) error {
			surrounded++
			return unwind()
		})
		if err != cause || surrounded != len(names) || len(*ran) != len(names) {
			t.Errorf("%q: ran %q within %d, and %v", names, *ran, surrounded, err)
		}
	}
	t.Log("2 stacks")
}
