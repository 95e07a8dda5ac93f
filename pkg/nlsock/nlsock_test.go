package nlsock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inNamespace dials in a new network namespace, which goes with the test's thread.
func inNamespace(t *testing.T, protocol int) *Conn {
	t.Helper()
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("make a network namespace (it takes root): %v", err)
	}
	defer ns.Close()
	c, err := Dial(protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func bridge(name string) Request {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	return Request{
		What: "make bridge " + name, Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL,
		Body: []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC),
			nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)), info},
	}
}

func links() Request {
	return Request{What: "list links", Type: unix.RTM_GETLINK,
		Body: []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC)}}
}

func link(name string) Request {
	r := links()
	r.What = "look up " + name
	r.Body = append(r.Body, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	return r
}

// A failure in the middle names its own request and does not keep the later ones
// from being done.
func TestDoManyAtOnce(t *testing.T) {
	c := inNamespace(t, unix.NETLINK_ROUTE)
	const count = 400
	var requests []Request
	for i := range count {
		requests = append(requests, bridge(fmt.Sprintf("br%d", i)))
	}
	again := bridge("br0")
	requests = append(requests[:20], append([]Request{again}, requests[20:]...)...)
	err := c.Do(requests...)
	if !errors.Is(err, unix.EEXIST) || !strings.HasPrefix(err.Error(), "make bridge br0: ") {
		t.Errorf("the repeated request: %v", err)
	}
	again.Ignore = []syscall.Errno{unix.EEXIST}
	if err := c.Do(again); err != nil {
		t.Errorf("with EEXIST ignored: %v", err)
	}
	if err := c.Do(); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
	list, err := c.Dump(links())
	if err != nil || len(list) != count+1 { // and lo
		t.Errorf("%d links, %v; want %d", len(list), err, count+1)
	}
	t.Logf("%d requests in one call, %d links listed", len(requests), len(list))
}

func TestQuery(t *testing.T) {
	c := inNamespace(t, unix.NETLINK_ROUTE)
	payload, err := c.Query(link("lo"))
	if err != nil || nl.DeserializeIfInfomsg(payload).Index != 1 {
		t.Errorf("lo: %v", err)
	}
	if _, err := c.Query(link("gone")); !errors.Is(err, unix.ENODEV) || !strings.HasPrefix(err.Error(), "look up gone: ") {
		t.Errorf("a link that is not there: %v", err)
	}
	if _, err := c.Query(link("lo")); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

// The kernel's own words come with its errors where it has some.
func TestKernelsWords(t *testing.T) {
	c := inNamespace(t, unix.NETLINK_ROUTE)
	r := bridge("br0")
	r.Body = append(r.Body, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(1)))
	err := c.Do(r)
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "mtu") {
		t.Errorf("an MTU of 1: %v", err)
	}
}

func TestDumpOfNothing(t *testing.T) {
	c := inNamespace(t, unix.NETLINK_ROUTE)
	m := nl.NewIfAddrmsg(unix.AF_INET)
	list, err := c.Dump(Request{What: "list addresses", Type: unix.RTM_GETADDR, Body: []nl.NetlinkRequestData{m}})
	if err != nil || len(list) != 0 {
		t.Errorf("%d addresses, %v", len(list), err)
	}
}

func attribute(typ uint16, value string) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func TestAttributes(t *testing.T) {
	b := slicesOf(attribute(3, "abc"), attribute(5|unix.NLA_F_NESTED, ""), attribute(7|unix.NLA_F_NET_BYTEORDER, "wxyz"))
	cases := []struct {
		name string
		in   []byte
		want string
	}{
		{"all", b, "3=abc 5= 7=wxyz "},
		{"last one unpadded", slicesOf(b, []byte{5, 0, 9, 0, 'q'}), "3=abc 5= 7=wxyz 9=q "},
		{"last one cut off", b[:len(b)-1], "3=abc 5= "},
		{"length below the header's", slicesOf(attribute(3, "abc"), []byte{3, 0, 1, 0}), "3=abc "},
		{"none", nil, ""},
	}
	for _, c := range cases {
		got := ""
		for typ, value := range Attributes(c.in) {
			got += fmt.Sprintf("%d=%s ", typ, value)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	t.Logf("%d cases", len(cases))
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func FuzzAttributes(f *testing.F) {
	f.Add(attribute(3, "abc"))
	f.Add([]byte{5, 0, 9, 0, 'q'})
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for _, value := range Attributes(b) {
			total += 4 + len(value)
		}
		if total > len(b) {
			t.Errorf("%d bytes of attributes in %d", total, len(b))
		}
	})
}
