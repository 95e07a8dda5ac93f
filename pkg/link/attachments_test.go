package link

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// Everything about the pods comes back from the kernel, and nobody else's links.
func TestAttachmentsReadBack(t *testing.T) {
	inNode(t)
	uplinks(t, "up0", "up1")
	h := openHost(t)
	up, _, err := h.Link("up0")
	must(t, err)
	pods := []testPod{
		newPod(t, "c1", "10.241.4.7"),
		newPod(t, "c2", "10.241.4.8", "fd00:241::8"),
		newPod(t, strings.Repeat("c", 128), "fd00:241::9"),
		newPod(t, "c4"),
	}
	want := map[string]string{}
	for i, p := range pods {
		p.attach(t, h)
		uplink := ""
		if i < 2 {
			uplink = "up0"
			must(t, h.AddProxy(up.Index, p.addrs))
		}
		want[p.veth.HostName] = fmt.Sprint("pods ", p.id, " eth0 ", p.addrs, " ", uplink)
	}
	foreign := newPod(t, "c9", "10.241.4.99") // the alias and the name do not fit together
	foreign.veth.HostName = "vnet0123456789a"
	foreign.attach(t, h)
	testhost.Sh(t, `ip link set up1 alias just/like/ours; ip link set up0 alias "an uplink"
		ip route add 10.241.5.0/24 dev `+pods[0].veth.HostName)
	found, err := h.Attachments()
	must(t, err)
	if len(found) != len(pods) {
		t.Errorf("%d attachments, want %d: %+v", len(found), len(pods), found)
	}
	for _, a := range found {
		got := fmt.Sprint(a.Network, " ", a.ContainerID, " ", a.IfName, " ", a.Addrs, " ", a.Uplink)
		if got != want[a.HostName] {
			t.Errorf("%s: %q, want %q", a.HostName, got, want[a.HostName])
		}
	}
	for _, p := range pods {
		got, err := h.HostAddrs(p.veth.HostName)
		if err != nil || !slices.Equal(got, p.addrs) {
			t.Errorf("HostAddrs of %s: %v, %v; want %v", p.id, got, err, p.addrs)
		}
	}
	t.Logf("%d pods, 3 foreign links", len(pods))
}

// A listing of many links takes several datagrams.
func TestAttachmentsOfManyPods(t *testing.T) {
	inNode(t)
	h := openHost(t)
	shared := anotherNamespace(t)
	sandbox := openSandbox(t, shared)
	const count = 150
	for i := range count {
		p := testPod{ns: shared, sandbox: sandbox, id: fmt.Sprint("c", i), addrs: addrList(fmt.Sprintf("10.241.%d.%d", 4+i/100, i%100+1))}
		p.veth = Veth{HostName: HostName("pods", p.id, "eth0"), PodName: fmt.Sprint("eth", i), PodMAC: PodMAC("pods", p.id, "eth0"), MTU: 1500}
		must(t, h.CreateVeth(p.veth, sandbox))
		end := p.hostEnd()
		end.Alias = Alias("pods", p.id, "eth0")
		must(t, h.ConfigureHost(end))
	}
	found, err := h.Attachments()
	must(t, err)
	ids := map[string]bool{}
	for _, a := range found {
		if len(a.Addrs) != 1 {
			t.Errorf("%s has addresses %v", a.ContainerID, a.Addrs)
		}
		ids[a.ContainerID] = true
	}
	if len(ids) != count || len(found) != count {
		t.Errorf("%d attachments of %d containers, want %d", len(found), len(ids), count)
	}
	t.Logf("%d pods", count)
}
