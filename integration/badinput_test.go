package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// document is a configuration on its way to stdin, decoded.
type document map[string]any

// badInput is one way to call a plugin wrongly. Its zero value is a call of
// vnet's ADD that succeeds.
type badInput struct {
	name   string
	plugin string                  // "vnet" when empty
	verb   string                  // "ADD" when empty
	raw    string                  // stdin as it is
	conf   func(document)          // or a change of the good configuration
	env    func(map[string]string) // a change of the good environment
	code   uint
	say    []string // what message or details have to name
}

// stage is the node on which all wrong calls are made: one pod lives there, and
// has the first address of each pool.
type stage struct {
	*bench
	other  *testnet.Pod // living
	result []byte       // of its ADD
	things string       // folder of files that are no namespaces

	versionless int // error objects without cniVersion
}

// secondary is an address of the pools that the node's uplink has itself.
const secondary = "10.241.4.14"

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{bench: newColdBench(t, testnet.New(t)), things: t.TempDir()}
	own := &netlink.Addr{IPNet: mustAddr(t, secondary+"/16").IPNet}
	if err := s.node.NL.AddrAdd(link(t, s.node.NS, testnet.Uplink), own); err != nil {
		t.Fatal(err)
	}
	s.other = s.node.NewPod()
	out := s.node.Exec("vnet", s.other.Env("ADD"), s.stdin)
	if out.Err != nil {
		t.Fatalf("ADD of the pod that lives: %+v", out.Err)
	}
	s.result = out.Stdout
	addresses := addressesOf(t, out)
	if addresses[0] != "10.241.4.10" {
		t.Fatalf("the first pod has %v", addresses)
	}
	s.plantLink("taken0")
	s.plantThings()
	s.baseline()
	return s
}

// plantLink makes an interface in the pod that is not the plugin's.
func (s *stage) plantLink(name string) {
	s.t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
	if err := s.pod.NL.LinkAdd(pair); err != nil {
		s.t.Fatal(err)
	}
}

// plantThings makes what somebody could take for a namespace file.
func (s *stage) plantThings() {
	s.t.Helper()
	for _, err := range []error{
		writeFile(s.thing("file"), "not a namespace"),
		unix.Mkfifo(s.thing("fifo"), 0o600),
		os.Symlink(s.thing("loop"), s.thing("loop")),
		os.Symlink(s.thing("nowhere"), s.thing("dangling")),
	} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stage) thing(name string) string { return filepath.Join(s.things, name) }

func addressesOf(t *testing.T, out testnet.Output) []string {
	t.Helper()
	result, err := out.Result()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, ip := range result.IPs {
		list = append(list, ip.Address.IP.String())
	}
	return list
}

// TestDELWithoutNamespace gives DEL every kind of path that is no namespace: the
// pod's may be gone, and its file may be anything by now.
func TestDELWithoutNamespace(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	gone := append(badNamespaces(s), badInput{name: "none at all", env: with("CNI_NETNS", "")})
	for _, c := range gone {
		t.Run(c.name, func(t *testing.T) {
			s.must("ADD")
			c.verb = "DEL"
			out := s.call(t, c)
			own := strings.Contains(c.name, "own") // the CNI library refuses that, when all is done
			if out.Code != 0 && !own {
				t.Errorf("exit %d, code %d: %s %s", out.Code, out.code(), out.msg(), out.details())
			}
			for _, line := range s.left() {
				t.Errorf("left: %s", line)
			}
			s.must("DEL")
		})
	}
	t.Logf("%d DELs", len(gone))
}

// TestBadInput calls the plugins wrongly in every way that a user, a template or
// a runtime could. Each call gets a CNI error object with the right code that
// names the fault, and nothing changes.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var table []badInput
	for _, part := range [][]badInput{
		badKeys(), badPools(), badValues(s), badNames(), badNamespaces(s), badInterfaces(),
		badAddresses(), badArgs(), badEnvironment(), badDocuments(), badResults(s), badIPAM(s),
	} {
		table = append(table, part...)
	}
	for _, c := range table {
		s.refuse(c)
	}
	s.must("ADD") // the base of all these calls is a good one
	s.must("DEL")
	t.Logf("%d wrong calls", len(table))
	if s.versionless > 0 { // told once, not with every call
		t.Errorf("%d error objects lack cniVersion, which the CNI specification's section \"Error\" lists", s.versionless)
	}
	if len(table) < 60 {
		t.Errorf("only %d wrong calls", len(table))
	}
}

// refuse makes one wrong call.
func (s *stage) refuse(c badInput) {
	s.t.Helper()
	s.t.Run(c.name, func(t *testing.T) {
		out := s.call(t, c)
		t.Logf("exit %d, code %d: %s %s", out.Code, out.code(), out.msg(), out.details())
		for _, fault := range s.faultsOf(c, out) {
			t.Error(fault)
		}
		left := s.left()
		for _, line := range left {
			t.Errorf("left: %s", line)
		}
		if len(left) > 0 {
			s.must("ADD") // brings rules that were changed back
			s.repair()
		}
	})
}

// answer is a plugin's output with its error object, if there was one.
type answer struct {
	testnet.Output
	object map[string]any
}

func (a answer) code() uint      { n, _ := a.object["code"].(float64); return uint(n) }
func (a answer) msg() string     { s, _ := a.object["msg"].(string); return s }
func (a answer) details() string { s, _ := a.object["details"].(string); return s }

func (s *stage) call(t *testing.T, c badInput) answer {
	t.Helper()
	verb, plugin := orElse(c.verb, "ADD"), orElse(c.plugin, "vnet")
	env := s.pod.Env(verb)
	if c.env != nil {
		c.env(env)
	}
	stdin := []byte(c.raw)
	if c.conf != nil || c.raw == "" {
		stdin = s.document(t, c.conf)
	}
	if c.raw == "nothing" {
		stdin = nil
	}
	a := answer{Output: runCommand(t, s.node, s.node.Command(env, testnet.Bin(t, plugin)), stdin)}
	_ = json.Unmarshal(a.Stdout, &a.object)
	return a
}

// document is the good configuration, changed.
func (s *stage) document(t *testing.T, change func(document)) []byte {
	t.Helper()
	var d document
	if err := json.Unmarshal(s.stdin, &d); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(d)
	}
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// faultsOf holds an answer to the CNI specification, section "Error".
func (s *stage) faultsOf(c badInput, a answer) []string {
	var faults []string
	fail := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	switch {
	case a.Code == 0:
		fail("it succeeded: %s", a.Stdout)
		return faults
	case a.Code != 1:
		fail("exit status %d, stderr %q", a.Code, a.Stderr)
	}
	if a.object == nil {
		fail("no JSON object on stdout: %q, stderr %q", a.Stdout, a.Stderr)
		return faults
	}
	if v, _ := a.object["cniVersion"].(string); v == "" {
		s.versionless++
	}
	if a.code() != c.code {
		fail("code %d, want %d", a.code(), c.code)
	}
	for _, word := range c.say {
		if !strings.Contains(a.msg()+" "+a.details(), word) {
			fail("the message does not name %q", word)
		}
	}
	return faults
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// set changes a key; the value nil removes it. A path, "ipam>type", goes down objects.
func set(path string, value any) func(document) {
	return func(d document) {
		at := map[string]any(d)
		keys := strings.Split(path, ">")
		for _, key := range keys[:len(keys)-1] {
			next, ok := at[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[key] = next
			}
			at = next
		}
		if last := keys[len(keys)-1]; value == nil {
			delete(at, last)
		} else {
			at[last] = value
		}
	}
}

func pools(list ...any) func(document) { return set("ipam>pools", append([]any{}, list...)) }

// with sets environment variables: key, value, key, value. An empty value
// removes the variable.
func with(pairs ...string) func(map[string]string) {
	return func(env map[string]string) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == "" {
				delete(env, pairs[i])
			} else {
				env[pairs[i]] = pairs[i+1]
			}
		}
	}
}
