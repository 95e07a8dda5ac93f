package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
)

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	usage := []struct {
		args  string
		words []string
	}{
		{"pod", []string{`"pod"`}},
		{"pods a b", []string{"2"}},
		{"ipam release", []string{"0"}},
		{"ipam release pods", []string{"1"}},
		{"ipam release pods a b c", []string{"4"}},
		{"gc now", []string{`"now"`}},
		{"status now", []string{`"now"`}},
		{"gc --dry", []string{"--dry"}},
		{"validate", []string{"1 arg"}},
		{"counters now", []string{`"now"`}},
		{"apply now", []string{`"now"`}},
		{"reach now", []string{`"now"`}},
		{"completion zhs", []string{`"zhs"`}},
		{"apply --networks", []string{"--networks"}},
		{"ipam -o yaml", []string{`"yaml"`, "json"}},
		{"pods --output=", []string{`""`}},
		{"pods -o JSON", []string{`"JSON"`}},
	}
	for _, u := range usage {
		a := vnetctl(append(strings.Fields(u.args), "--state-dir", dir)...)
		a.fails(t, exitUsage, u.words...)
		if a.stdout != "" {
			t.Errorf("%s: usage errors belong on stderr: %s", u.args, a.stdout)
		}
	}
	vnetctl("status", "--state-dir", "").fails(t, exitUsage, `--state-dir ""`)
	expectText(t, "version", vnetctl("--version").must(t), "vnetctl devel\n")
	if help := vnetctl().must(t); !strings.Contains(help, "ipam") {
		t.Errorf("help: %s", help)
	}
	shells := []string{"bash", "zsh", "fish"}
	for _, shell := range shells {
		if script := vnetctl("completion", shell).must(t); !strings.Contains(script, "vnetctl") {
			t.Errorf("completion for %s: %q", shell, script)
		}
	}
	t.Logf("%d usage errors, %d shells", len(usage), len(shells))
}

func TestCompletion(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	fillStores(t, dir)
	cases := []struct {
		args []string
		want []string
	}{
		{[]string{"pods", ""}, []string{"bridged", "pods"}},
		{[]string{"ipam", "br"}, []string{"bridged"}},
		{[]string{"ipam", "release", ""}, []string{"bridged", "pods"}},
		{[]string{"ipam", "release", "pods", ""}, []string{"aaaa", "bbbb"}},
		{[]string{"ipam", "release", "pods", "bbbb", ""}, []string{"net1"}},
		{[]string{"pods", "-o", ""}, []string{"table", "json"}},
	}
	for _, c := range cases {
		out := vnetctl(append([]string{"__complete", "--state-dir", dir}, c.args...)...).stdout
		for _, w := range c.want {
			if !strings.Contains("\n"+out, "\n"+w+"\n") {
				t.Errorf("completion of %q lacks %s: %q", c.args, w, out)
			}
		}
	}
	t.Logf("%d completions", len(cases))
}

func TestAge(t *testing.T) {
	t.Parallel()
	cases := map[time.Duration]string{
		-time.Second: "0s", 59*time.Second + 999*time.Millisecond: "59s", 192 * time.Second: "3m12s",
		time.Hour: "1h0m", 125 * time.Minute: "2h5m", 97 * time.Hour: "4d1h",
	}
	for d, want := range cases {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %s, want %s", d, got, want)
		}
	}
	t.Logf("%d ages", len(cases))
}

func TestNotRoot(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	lease(t, dir, "pods", ipam.Key{ContainerID: "a", IfName: "eth0"}, attachment.Record{HostVeth: "vnet1", Sandbox: "/run/netns/vctl-no"}, 0, mustPool(t, "10.241.0.0/16"))
	if err := os.WriteFile(filepath.Join(dir, "pods.nsg"), []byte("{}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	commands := []string{"ipam", "ipam release pods a", "pods", "status", "gc", "counters", "apply", "reach",
		"test-ip-flow --pod a --direction Inbound --protocol TCP --local :1 --remote 8.8.8.8:1"}
	for _, mode := range []os.FileMode{0o700, 0o755} { // of the directory; the stores are root's either way
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		for _, c := range commands {
			cmd := exec.Command(filepath.Join(binDir, "vnetctl"), append(strings.Fields(c), "--state-dir", dir)...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			var out, errs strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(errs.String(), "needs root") {
				t.Errorf("%s in a directory of mode %o: %v\n%s%s", c, mode, err, out.String(), errs.String())
			}
		}
	}
	left := decode[ipamEntries](t, vnetctl("ipam", "-o", "json", "--state-dir", dir).must(t))
	if len(left.Leases) != 1 {
		t.Errorf("%d leases left, want 1", len(left.Leases))
	}
	t.Logf("%d commands refused", 2*len(commands))
}

// A record can make gc take a pod for dead only where its namespace would be
// seen if it lived.
func TestOnlyWhatIsCertainlyGoneIsCollected(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	_, alive := testhost.Beside(t, "alive")
	notOne := filepath.Join(dir, "pods.db") // exists, but is no namespace
	plugins := t.TempDir()
	called := filepath.Join(plugins, "called")
	script := "#!/bin/sh\necho \"$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME\" >>" + called + "\n"
	if err := os.WriteFile(filepath.Join(plugins, "foreign-ipam"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := &attachment.Delegate{Type: "foreign-ipam", Config: []byte(`{"cniVersion":"1.0.0"}`)}
	cases := []struct {
		id      string
		record  any
		removed bool
		kept    string
	}{
		{"alive", attachment.Record{HostVeth: "vnet1", Sandbox: alive}, false, ""},
		{"own", attachment.Record{HostVeth: "vnet2", Sandbox: "/proc/thread-self/ns/net"}, false, "own namespace"},
		{"unseen", attachment.Record{HostVeth: "vnet3", Sandbox: "/nowhere/to/be/seen"}, false, "/nowhere/to/be"},
		{"foreign", attachment.Record{HostVeth: "vnet4", Sandbox: "/run/netns/vctl-no", Delegate: foreign}, true, ""},
		{"gone", attachment.Record{HostVeth: "vnet5", Sandbox: "/run/netns/vctl-no"}, true, ""},
		{"unmounted", attachment.Record{HostVeth: "vnet6", Sandbox: notOne}, true, ""},
		{"rebuilt", attachment.Record{HostVeth: "vnet7"}, true, ""},
		{"undecodable", map[string]int{"hostVeth": 7}, true, ""},
	}
	for _, c := range cases {
		lease(t, dir, "pods", ipam.Key{ContainerID: c.id, IfName: "eth0"}, c.record, 0, mustPool(t, "10.241.0.0/16"))
	}
	lease(t, dir, "pods", ipam.Key{ContainerID: "bridged", IfName: "eth0"}, nil, 0, mustPool(t, "10.241.0.0/16"))
	for _, c := range cases {
		if !c.removed {
			vnetctl("ipam", "release", "pods", c.id, "--state-dir", dir).fails(t, exitFailed, c.id, "alive", "--force")
		}
	}

	report := decode[collect.Report](t, vnetctl("gc", "-o", "json", "--state-dir", dir, "--cni-path", plugins).must(t))
	if got, err := os.ReadFile(called); err != nil || string(got) != "DEL foreign eth0\n" {
		t.Errorf("the foreign IPAM plugin was called with %q (%v)", got, err)
	}
	removed, kept := map[string]string{}, map[string]string{}
	for _, e := range report.Removed {
		removed[e.ContainerID] = e.Reason
	}
	for _, e := range report.Kept {
		kept[e.ContainerID] = e.Reason
	}
	for _, c := range cases {
		if _, is := removed[c.id]; is != c.removed {
			t.Errorf("%s: removed is %v", c.id, is)
		}
		if !strings.Contains(kept[c.id], c.kept) || (kept[c.id] == "") != (c.kept == "") {
			t.Errorf("%s: kept because %q, want %q", c.id, kept[c.id], c.kept)
		}
	}
	left := decode[ipamEntries](t, vnetctl("ipam", "-o", "json", "--state-dir", dir).must(t))
	if len(left.Leases) != 4 {
		t.Errorf("%d leases left, want 4: %+v", len(left.Leases), left.Leases)
	}
	t.Logf("%d leases judged, %d removed, %d kept with a reason", len(cases)+1, len(removed), len(kept))
}
