package sysmon

import (
	"os"
	"strings"
	"testing"
)

// The second thread may wake late, the first one, which does the work, may not.
func TestRelax(t *testing.T) {
	if err := relax(); err != nil {
		t.Fatal(err)
	}
	tid, err := secondThread()
	if err != nil {
		t.Fatal(err)
	}
	if got := slackOf(t, tid); got != slack {
		t.Errorf("the monitor's slack is %s, want %s", got, slack)
	}
	if got := slackOf(t, "self"); got == slack {
		t.Errorf("the main thread's slack is %s, too", got)
	}
	t.Log("2 threads")
}

func slackOf(t *testing.T, tid string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + tid + "/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
