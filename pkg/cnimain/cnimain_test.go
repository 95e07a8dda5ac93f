package cnimain

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// The test's program is also the plugin that the tests call.
const pluginVar = "VNET_CNIMAIN_TEST_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(pluginVar) != "" {
		Run("vnet-test", testVerbs())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testVerbs() skel.CNIFuncs {
	return skel.CNIFuncs{
		Add: func(*skel.CmdArgs) error {
			fmt.Printf("[%s]", os.Getenv("CNI_NETNS_OVERRIDE"))
			return nil
		},
		Del:    func(*skel.CmdArgs) error { return fmt.Errorf("x: %w", cnierr.Errorf(cnierr.Store, "the store")) },
		Check:  func(*skel.CmdArgs) error { return errors.New("no code") },
		GC:     func(*skel.CmdArgs) error { return types.NewError(11, "later", "details") },
		Status: func(*skel.CmdArgs) error { return nil },
	}
}

// plugin calls it with a verb and gives its exit status and standard output.
func plugin(t *testing.T, verb, version string, env []string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append([]string{
		pluginVar + "=1", "GORACE=atexit_sleep_ms=0", "CNI_COMMAND=" + verb, "CNI_CONTAINERID=c1", "CNI_NETNS=/proc/self/ns/net", "CNI_IFNAME=eth0", "CNI_PATH=/",
	}, env...)
	if verb == "" {
		cmd.Env = []string{pluginVar + "=1", "GORACE=atexit_sleep_ms=0"}
	}
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"cniVersion":%q,"name":"pods","type":"vnet-test"}`, version))
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestErrorsReachTheRuntime(t *testing.T) {
	rows := []struct {
		verb, version string
		code          uint
		text          string
	}{
		{"DEL", "1.0.0", cnierr.Store, "x: the store"},
		{"CHECK", "1.0.0", cnierr.Kernel, "no code"},
		{"GC", "1.1.0", cnierr.TryAgain, "later"},
		{"DEL", "9.9.9", cnierr.IncompatibleVersion, ""},
		{"MAKE", "1.0.0", cnierr.Environment, "MAKE"},
	}
	for _, row := range rows {
		status, out := plugin(t, row.verb, row.version, nil)
		var o types.Error
		if err := json.Unmarshal([]byte(out), &o); err != nil || status != 1 {
			t.Errorf("%s: status %d, %q: %v", row.verb, status, out, err)
			continue
		}
		if o.Code != row.code || !strings.Contains(o.Msg, row.text) {
			t.Errorf("%s: code %d %q, want %d %q", row.verb, o.Code, o.Msg, row.code, row.text)
		}
	}
	t.Logf("%d errors", len(rows))
}

// An ADD in this process's own namespace is no fault of its own: skel must not
// look once the verb has printed its result. The verb sees the caller's environment.
func TestNoLateLookAtTheNamespace(t *testing.T) {
	rows := []struct {
		env  []string
		want string
	}{
		{nil, "[]"},
		{[]string{"CNI_NETNS_OVERRIDE=yes"}, "[yes]"},
		{[]string{"CNI_NETNS_OVERRIDE=0"}, "[0]"},
	}
	for _, row := range rows {
		if status, out := plugin(t, "ADD", "1.0.0", row.env); status != 0 || out != row.want {
			t.Errorf("%v: status %d, %q; want %q", row.env, status, out, row.want)
		}
	}
	if status, out := plugin(t, "STATUS", "1.1.0", nil); status != 0 || out != "" {
		t.Errorf("STATUS: status %d, %q", status, out)
	}
	t.Logf("%d environments", len(rows))
}

func TestVersions(t *testing.T) {
	for _, flag := range []string{"--version", "-version"} {
		if status, out := plugin(t, "", "", nil, flag); status != 0 || out != "vnet-test devel\n" {
			t.Errorf("%s: status %d, %q", flag, status, out)
		}
	}
	status, out := plugin(t, "VERSION", "1.0.0", nil)
	var answer struct{ SupportedVersions []string }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || status != 0 {
		t.Fatalf("VERSION: status %d, %q: %v", status, out, err)
	}
	if got := fmt.Sprint(answer.SupportedVersions); got != "[0.3.1 0.4.0 1.0.0 1.1.0]" {
		t.Errorf("VERSION: %s", got)
	}
	t.Log("2 flags, 1 verb")
}
