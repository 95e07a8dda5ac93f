package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// arg is the namespace as ip takes it.
func (n namespace) arg() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.handle)) }

// The node's end of a pair is found wherever somebody put it, and what is no pair, or
// in something else than a bridge, is refused.
func TestEndOf(t *testing.T) {
	const pair = "ip link add v0 type veth peer name eth0 netns POD"
	cases := []struct {
		name        string
		node, inPod string // commands
		device      string
		refused     string // part of why
	}{
		{"a routed pair", pair, "", "v0", ""},
		{"a port of a bridge", "ip link add br0 type bridge; ip link set br0 up;" + pair + "; ip link set v0 master br0", "", "br0", ""},
		{"a macvlan", "ip link add up0 type veth peer name far0; ip link add link up0 name eth0 netns POD type macvlan mode bridge", "", "", "macvlan"},
		{"a bridge", "", "ip link add eth0 type bridge", "", `"bridge"`},
		{"both ends in the pod", "", "ip link add eth0 type veth peer name eth1", "", "elsewhere"},
		{"nothing", "", "", "", "there is none"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inNode(t)
			pod := anotherNamespace(t)
			h, s := openHost(t), openSandbox(t, pod)
			testhost.Sh(t, strings.ReplaceAll(c.node, "POD", pod.arg()))
			pod.sh(t, c.inPod)
			e, err := h.EndOf(s, "eth0")
			if c.refused != "" {
				if !errors.Is(err, ErrUnfiltered) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("%+v, %v; want a refusal that names %q", e, err, c.refused)
				}
				return
			}
			if err != nil || e.Name != "v0" || e.Device != c.device || e.PodName != "eth0" {
				t.Errorf("%+v, %v; want v0 on %s", e, err, c.device)
			}
		})
	}
	t.Logf("%d interfaces", len(cases))
}

// A port of what is no bridge goes ways that nobody here knows.
func TestEndOfPort(t *testing.T) {
	inNode(t)
	h := openHost(t)
	lo, _, err := h.Link("lo")
	must(t, err)
	if err := h.findBridge(&End{}, Link{Name: "v0", Master: lo.Index}); !errors.Is(err, ErrUnfiltered) || !strings.Contains(err.Error(), `"lo"`) {
		t.Errorf("%v; want a refusal that names lo", err)
	}
	t.Log("1 port")
}

// A bridge's packets are seen if the namespace or the bridge itself says so.
func TestFiltered(t *testing.T) {
	inNode(t)
	pod := anotherNamespace(t)
	h, s := openHost(t), openSandbox(t, pod)
	testhost.Sh(t, "ip link add br0 type bridge; ip link add v0 type veth peer name eth0 netns "+pod.arg()+"; ip link set v0 master br0")
	cases := []struct {
		v4, v6     string // sysctls
		own4, own6 string // of the bridge
		want4      bool
		want6      bool
	}{
		{"1", "1", "0", "0", true, true},
		{"1", "0", "0", "0", true, false},
		{"0", "1", "0", "0", false, true},
		{"0", "0", "0", "0", false, false},
		{"0", "0", "1", "0", true, false},
		{"0", "0", "0", "1", false, true},
	}
	for _, c := range cases {
		for name, value := range map[string]string{"iptables": c.v4, "ip6tables": c.v6} {
			must(t, os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+name, []byte(value), 0))
		}
		testhost.Sh(t, "ip link set br0 type bridge nf_call_iptables "+c.own4+" nf_call_ip6tables "+c.own6)
		e, err := h.EndOf(s, "eth0")
		must(t, err)
		for i, want := range []bool{c.want4, c.want6} {
			err := e.Filtered(i == 0, i == 1)
			if (err == nil) != want || err != nil && (!errors.Is(err, ErrUnfiltered) || !strings.Contains(err.Error(), "bridge-nf-call-ip")) {
				t.Errorf("%+v, family %d: %v", c, i, err)
			}
		}
		if err := e.Filtered(false, false); err != nil {
			t.Errorf("of no family: %v", err)
		}
	}
	t.Logf("%d settings", len(cases))
}

// The addresses that work on the link alone are known before the kernel has made them.
func TestLinkLocals(t *testing.T) {
	inNode(t)
	pod := anotherNamespace(t)
	h, s := openHost(t), openSandbox(t, pod)
	testhost.Sh(t, "ip link add v0 type veth peer name eth0 address 0a:00:00:00:00:07 netns "+pod.arg())
	of := func() []netip.Addr {
		t.Helper()
		e, err := h.EndOf(s, "eth0")
		must(t, err)
		return e.LinkLocal
	}
	made := addrList("fe80::800:ff:fe00:7")
	if got := of(); !slices.Equal(got, made) {
		t.Errorf("before the kernel made any: %v, want %v", got, made)
	}
	pod.sh(t, "ip addr add fe80::9/64 dev eth0 nodad")
	if got := of(); !slices.Equal(got, append(made, addrList("fe80::9")...)) {
		t.Errorf("with one of the pod's own: %v", got)
	}
	pod.sh(t, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
	if got := of(); len(got) != 0 {
		t.Errorf("without IPv6: %v", got)
	}
	pod.sh(t, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0")
	testhost.Sh(t, "ip link set v0 name "+HostName("pods", "c1", "eth0")+" alias '"+Alias("pods", "c1", "eth0")+"'")
	if got := of(); len(got) != 0 {
		t.Errorf("behind an interface of ours: %v", got)
	}
	t.Log("4 states")
}

// A pair that is severed carries nothing, whatever it is called by now.
func TestSever(t *testing.T) {
	inNode(t)
	pod := anotherNamespace(t)
	h, s := openHost(t), openSandbox(t, pod)
	testhost.Sh(t, "ip link add v0 type veth peer name eth0 netns "+pod.arg()+"; ip link set v0 up")
	pod.sh(t, "ip link set eth0 up")
	e, err := h.EndOf(s, "eth0")
	must(t, err)
	testhost.Sh(t, "ip link set v0 name other0")
	must(t, h.Sever(e.Index))
	if l, found, err := h.LinkAt(e.Index); err != nil || !found || l.Up {
		t.Errorf("%+v, %t, %v; want it down", l, found, err)
	}
	testhost.Sh(t, "ip link del other0")
	must(t, h.Sever(e.Index))
	must(t, h.Sever(0))
	lo, found, err := h.Link("lo")
	must(t, err)
	must(t, h.Sever(lo.Index))
	if lo, _, _ = h.Link("lo"); !found || !lo.Up {
		t.Error("what is no pair was taken down")
	}
	t.Log("4 links")
}

// Indexes are of a namespace each: a pair whose node's end has by chance the numbers of
// the pod's other end, which is elsewhere, is not the pod's.
func TestEndOfStranger(t *testing.T) {
	inNode(t)
	pod, other, elsewhere := anotherNamespace(t), anotherNamespace(t), anotherNamespace(t)
	h, s := openHost(t), openSandbox(t, pod)
	testhost.Sh(t, "ip link add stranger0 index 77 type veth peer name eth0 index 78 netns "+other.arg())
	pod.sh(t, "ip link add eth0 index 78 type veth peer name v0 index 77 netns "+elsewhere.arg())
	if e, err := h.EndOf(s, "eth0"); !errors.Is(err, ErrUnfiltered) || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("%+v, %v; want a refusal", e, err)
	}
	// And with both ends of the stranger on the node.
	testhost.Sh(t, "ip link del stranger0; ip link add stranger0 index 77 type veth peer name stranger1 index 78")
	if e, err := h.EndOf(s, "eth0"); !errors.Is(err, ErrUnfiltered) || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("%+v, %v; want a refusal", e, err)
	}
	t.Log("2 strangers")
}
