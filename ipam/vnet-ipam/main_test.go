package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

const (
	onePool  = `[{"subnet":"10.241.0.0/16","ranges":["10.241.4.0/30"]}]`
	twoPools = `[{"subnet":"10.241.0.0/16","ranges":["10.241.4.0/24"]},{"subnet":"fd00:241::/64","ranges":["fd00:241::400/120"]}]`
)

// runtime calls the verbs of one network.
type runtime struct {
	t        *testing.T
	stateDir string
	pools    string
	version  string
	extra    string // more keys, each followed by a comma
}

func newRuntime(t *testing.T, pools string) *runtime {
	return &runtime{t: t, stateDir: filepath.Join(t.TempDir(), "state"), pools: pools, version: "1.1.0"}
}

func (r *runtime) cmd(id string) *skel.CmdArgs {
	stdin := fmt.Sprintf(`{%s"cniVersion":%q,"name":"pods","type":"bridge","bridge":"cni0","stateDir":%q,
		"ipam":{"type":"vnet-ipam","routes":[{"dst":"0.0.0.0/0"}],"pools":%s}}`, r.extra, r.version, r.stateDir, r.pools)
	return &skel.CmdArgs{ContainerID: id, IfName: "eth0", Netns: "/nowhere", StdinData: []byte(stdin)}
}

// out runs a verb with its standard output caught.
func (r *runtime) out(verb func(*skel.CmdArgs) error, cmd *skel.CmdArgs) (string, error) {
	r.t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	stdout := os.Stdout
	os.Stdout = writer
	failed := verb(cmd)
	os.Stdout = stdout
	writer.Close()
	text, err := io.ReadAll(reader)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text), failed
}

// add gives the addresses of a successful ADD.
func (r *runtime) add(id string) []string {
	r.t.Helper()
	text, err := r.out(add, r.cmd(id))
	if err != nil {
		r.t.Fatalf("ADD %s: %v", id, err)
	}
	var result struct{ IPs []struct{ Address string } }
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, ip := range result.IPs {
		list = append(list, ip.Address)
	}
	return list
}

// quiet runs a verb that must print nothing.
func (r *runtime) quiet(verb func(*skel.CmdArgs) error, id string) error {
	r.t.Helper()
	text, err := r.out(verb, r.cmd(id))
	if text != "" {
		r.t.Errorf("the verb printed %q", text)
	}
	return err
}

// holders lists who has leases.
func (r *runtime) holders() []string {
	r.t.Helper()
	leases, err := r.store().Leases()
	if err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, l := range leases {
		list = append(list, l.ContainerID)
	}
	slices.Sort(list)
	return list
}

func (r *runtime) store() *ipam.Store {
	return ipam.New(ipam.Options{Dir: r.stateDir, Network: "pods"})
}

func wantCode(t *testing.T, what string, err error, code uint, text string) {
	t.Helper()
	if err == nil || cnierr.Object(err).Code != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v; want code %d and %q", what, err, code, text)
	}
}

// What main plugins read, in each version of the specification.
func TestResultAsJSON(t *testing.T) {
	const (
		new4 = `{"address":"10.241.4.1/16","gateway":"10.241.0.1"}`
		new6 = `{"address":"fd00:241::400/64","gateway":"fd00:241::1"}`
		old  = `"ips":[{"version":"4","address":"10.241.4.1/16","gateway":"10.241.0.1"},{"version":"6","address":"fd00:241::400/64","gateway":"fd00:241::1"}],` +
			`"routes":[{"dst":"0.0.0.0/0"}],"dns":{}`
		newer = `"ips":[` + new4 + `,` + new6 + `],"routes":[{"dst":"0.0.0.0/0"}]`
	)
	rows := map[string]string{"0.3.1": old, "0.4.0": old, "1.0.0": newer, "1.1.0": newer}
	for version, want := range rows {
		r := newRuntime(t, strings.Replace(twoPools, "10.241.4.0/24", "10.241.4.1-10.241.4.9", 1))
		r.version, r.extra = version, `"dns":{"nameservers":["168.63.129.16"]},` // the main plugin's
		text, err := r.out(add, r.cmd("c1"))
		if err != nil {
			t.Fatalf("version %s: %v", version, err)
		}
		var got bytes.Buffer
		if err := json.Compact(&got, []byte(text)); err != nil {
			t.Fatalf("version %s: %q: %v", version, text, err)
		}
		if want = `{"cniVersion":"` + version + `",` + want + `}`; got.String() != want {
			t.Errorf("version %s:\n got %s\nwant %s", version, got.String(), want)
		}
	}
	t.Logf("%d versions", len(rows))
}

// The life of a lease: ADD twice is one, DEL twice is none.
func TestVerbs(t *testing.T) {
	r := newRuntime(t, twoPools)
	if err := r.quiet(status, ""); err != nil {
		t.Errorf("STATUS before the first ADD: %v", err)
	}
	wantCode(t, "CHECK without a lease", r.quiet(check, "c1"), cnierr.Check, "c1")
	if err := r.quiet(del, "c1"); err != nil {
		t.Errorf("DEL without a store: %v", err)
	}
	first := r.add("c1")
	if again := r.add("c1"); !slices.Equal(again, first) || len(first) != 2 {
		t.Errorf("ADD gave %v, then %v", first, again)
	}
	if other := r.add("c2"); slices.Contains(other, first[0]) || slices.Contains(other, first[1]) {
		t.Errorf("two containers share an address: %v, %v", first, other)
	}
	if err := r.quiet(check, "c1"); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	for range 2 {
		if err := r.quiet(del, "c1"); err != nil {
			t.Errorf("DEL: %v", err)
		}
		if got := fmt.Sprint(r.holders()); got != "[c2]" {
			t.Errorf("after DEL %s hold leases", got)
		}
	}
	wantCode(t, "CHECK after DEL", r.quiet(check, "c1"), cnierr.Check, "no lease")
	if err := r.quiet(status, ""); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	t.Log("12 calls of 4 verbs")
}

func TestCheckAgainstPrevResult(t *testing.T) {
	r := newRuntime(t, onePool)
	r.pools = `[{"subnet":"10.241.0.0/16","ranges":["10.241.4.7"]}]`
	r.add("c1")
	rows := []struct {
		addresses string
		fine      bool
	}{
		{`{"address":"10.241.4.7/16"}`, true}, {`{"address":"10.241.4.7/32"}`, true},
		{`{"address":"fd00::1/64"},{"address":"10.241.4.7/16"}`, true},
		{`{"address":"10.241.4.8/16"}`, false}, {``, false},
	}
	for _, row := range rows {
		r.extra = `"prevResult":{"cniVersion":"1.1.0","ips":[` + row.addresses + `]},`
		err := r.quiet(check, "c1")
		if row.fine && err != nil {
			t.Errorf("%s: %v", row.addresses, err)
		}
		if !row.fine {
			wantCode(t, row.addresses, err, cnierr.Check, "10.241.4.7")
		}
	}
	t.Logf("%d results", len(rows))
}

// A full pool is an error of ADD to be tried again, and none of STATUS.
func TestFullPool(t *testing.T) {
	r := newRuntime(t, onePool)
	const size = 4
	for i := range size {
		r.add(fmt.Sprint("c", i))
	}
	text, err := r.out(add, r.cmd("late"))
	wantCode(t, "ADD to a full pool", err, cnierr.TryAgain, "10.241.0.0/16")
	if text != "" {
		t.Errorf("a failed ADD printed %q", text)
	}
	if err := r.quiet(status, ""); err != nil {
		t.Errorf("STATUS of a full pool: %v", err)
	}
	if err := r.quiet(del, "c2"); err != nil {
		t.Fatal(err)
	}
	r.add("late")
	t.Logf("%d leases", size)
}

// A fixed address comes by capability or by argument.
func TestFixedAddress(t *testing.T) {
	r := newRuntime(t, twoPools)
	r.extra = `"runtimeConfig":{"ips":["10.241.4.77/16"]},`
	if got := r.add("c1"); got[0] != "10.241.4.77/16" {
		t.Errorf("asked by capability for 10.241.4.77, got %v", got)
	}
	_, err := r.out(add, r.cmd("c2"))
	wantCode(t, "the same address again", err, cnierr.AddressTaken, "c1")
	r.extra = ""
	cmd := r.cmd("c3")
	cmd.Args = "IgnoreUnknown=1;IP=10.241.4.78"
	if text, err := r.out(add, cmd); err != nil || !strings.Contains(text, "10.241.4.78/16") {
		t.Errorf("asked by argument: %v, %s", err, text)
	}
	cmd = r.cmd("c4")
	cmd.Args = "IP=10.99.0.1"
	_, err = r.out(add, cmd)
	wantCode(t, "an address in no pool", err, cnierr.Config, "10.99.0.1")
	if got := fmt.Sprint(r.holders()); got != "[c1 c3]" {
		t.Errorf("%s hold leases", got)
	}
	t.Log("4 requests")
}

// GC takes what the runtime does not list, and never what a main plugin has to
// take down itself.
func TestGC(t *testing.T) {
	attached := func(r *runtime) {
		pool := netip.MustParsePrefix("10.241.4.99/16")
		l := ipam.Lease{Key: ipam.Key{ContainerID: "vnet", IfName: "eth0"}, Addresses: []netip.Prefix{pool}, Attachment: json.RawMessage(`{"hostVeth":"vnet0"}`)}
		if err := r.store().Record(l); err != nil {
			r.t.Fatal(err)
		}
	}
	rows := []struct{ what, extra, want string }{
		{"no list", ``, "[c1 c2 c3 vnet]"},
		{"an empty list", `"cni.dev/valid-attachments":[],`, "[vnet]"},
		{"some", `"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"},{"containerID":"c9","ifname":"eth0"}],`, "[c1 vnet]"},
		{"another interface", `"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth1"}],`, "[vnet]"},
	}
	for _, row := range rows {
		r := newRuntime(t, twoPools)
		for _, id := range []string{"c1", "c2", "c3"} {
			r.add(id)
		}
		attached(r)
		r.extra = row.extra
		for range 2 {
			if err := r.quiet(gc, ""); err != nil {
				t.Errorf("%s: %v", row.what, err)
			}
			if got := fmt.Sprint(r.holders()); got != row.want {
				t.Errorf("%s: %s hold leases, want %s", row.what, got, row.want)
			}
		}
	}
	r := newRuntime(t, twoPools)
	r.extra = `"cni.dev/valid-attachments":[],`
	if err := r.quiet(gc, ""); err != nil {
		t.Errorf("GC without a store: %v", err)
	}
	t.Logf("%d lists", len(rows))
}

// A result that nobody could read leaves no lease, unless it was there before.
func TestResultThatCannotBeWritten(t *testing.T) {
	r := newRuntime(t, twoPools)
	broken := func(id string) error {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader.Close()
		defer writer.Close()
		stdout := os.Stdout
		os.Stdout = writer
		defer func() { os.Stdout = stdout }()
		return add(r.cmd(id))
	}
	wantCode(t, "ADD", broken("c1"), cnierr.IO, "write the result")
	if got := r.holders(); len(got) != 0 {
		t.Errorf("%v hold leases", got)
	}
	r.add("c2")
	wantCode(t, "ADD again", broken("c2"), cnierr.IO, "write the result")
	if got := fmt.Sprint(r.holders()); got != "[c2]" {
		t.Errorf("%s hold leases", got)
	}
	t.Log("2 results")
}

// DEL and GC work with a configuration that was edited since; the others refuse it.
func TestEditedConfiguration(t *testing.T) {
	r := newRuntime(t, twoPools)
	r.add("c1")
	r.add("c2")
	r.pools = `"nonsense"`
	_, err := r.out(add, r.cmd("c3"))
	for what, err := range map[string]error{"ADD": err, "CHECK": r.quiet(check, "c1"), "STATUS": r.quiet(status, "")} {
		wantCode(t, what, err, cnierr.Decode, "pools")
	}
	if err := r.quiet(del, "c1"); err != nil {
		t.Errorf("DEL: %v", err)
	}
	r.extra = `"cni.dev/valid-attachments":[],`
	if err := r.quiet(gc, ""); err != nil {
		t.Errorf("GC: %v", err)
	}
	if got := r.holders(); len(got) != 0 {
		t.Errorf("%v hold leases", got)
	}
	t.Log("5 verbs")
}

// A store that cannot be used: STATUS says unavailable, and every verb has its code.
func TestUnusableStore(t *testing.T) {
	r := newRuntime(t, twoPools)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.stateDir = filepath.Join(file, "below")
	_, err := r.out(add, r.cmd("c1"))
	wantCode(t, "ADD", err, cnierr.Store, file)
	wantCode(t, "STATUS", r.quiet(status, ""), cnierr.Unavailable, file)
	if errors.Is(err, ipam.ErrDamaged) {
		t.Errorf("%v is told as damage", err)
	}
	wantCode(t, "ADD of a bad container id", r.quiet(add, "../x"), cnierr.Environment, "CNI_CONTAINERID")
	wantCode(t, "DEL of a bad container id", r.quiet(del, ""), cnierr.Environment, "CNI_CONTAINERID")
	t.Log("4 calls")
}
