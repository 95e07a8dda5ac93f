package nlsock

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func deletion(name string) Request {
	r := link(name)
	r.What, r.Type = "delete "+name, unix.RTM_DELLINK
	return r
}

func apart(t *testing.T) *Conn {
	t.Helper()
	c := inNamespace(t, unix.NETLINK_ROUTE)
	if c.Apart(); !c.apart {
		t.Fatal("the port id is taken")
	}
	return c
}

// collected waits for the children that tell nobody of their end, which nobody but
// DoFromChild starts, and returns how many there were.
func collected(t *testing.T) (count int) {
	t.Helper()
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(-1, &status, unix.WCLONE, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return count
		case err != nil:
			t.Fatal(err)
		case status != 0:
			t.Errorf("a child ended with wait status %#x", uint32(status))
			fallthrough
		default:
			count++
		}
	}
}

// What the kernel has told of is done, and the socket serves on while the child
// still waits.
func TestDoFromChild(t *testing.T) {
	c := apart(t)
	const rounds = 10
	for i := range rounds {
		if err := c.Do(bridge("br0"), bridge("br1")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"br0", "br1"} {
			if err := c.DoFromChild(deletion(name)); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
		}
		if list, err := c.Dump(links()); err != nil || len(list) != 1 { // lo
			t.Errorf("round %d: %d links left, %v", i, len(list), err)
		}
	}
	if n := collected(t); n > 2*rounds {
		t.Errorf("%d children for %d requests", n, 2*rounds)
	}
	t.Logf("%d requests", 2*rounds)
}

// The child is collected when the kernel has refused, and when it could not ask.
func TestDoFromChildFails(t *testing.T) {
	c := apart(t)
	gone := deletion("br0")
	tolerant := gone
	tolerant.Ignore = []syscall.Errno{unix.ENODEV}
	long := links()
	long.What = "say too much"
	for range 8 { // more than a socket's send buffer takes
		long.Body = append(long.Body, nl.NewRtAttr(unix.IFLA_IFALIAS, make([]byte, 60000)))
	}
	cases := []struct {
		request Request
		want    error
	}{
		{gone, unix.ENODEV},
		{tolerant, nil},
		{long, unix.EMSGSIZE},
	}
	for _, row := range cases {
		err := c.DoFromChild(row.request)
		if !errors.Is(err, row.want) || err != nil && !strings.HasPrefix(err.Error(), row.request.What+": ") {
			t.Errorf("%s: %v, want %v", row.request.What, err, row.want)
		}
		if n := collected(t); n != 0 {
			t.Errorf("%s: %d children were left", row.request.What, n)
		}
	}
	t.Logf("%d requests", len(cases))
}

// A child that ends and leaves the kernel's answer out, as one that is killed does.
func TestChildWithoutAnAnswer(t *testing.T) {
	c := apart(t)
	ch, err := c.sendFromChild(c.serialise(Request{Type: unix.NLMSG_NOOP}, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer ch.close()
	if err := ch.await(c.fd); err == nil || !strings.Contains(err.Error(), "ended before the kernel answered") {
		t.Errorf("%v", err)
	}
	t.Log("1 child")
}

// Who reads this process's output to its end must not wait for the child.
func TestChildKeepsNoFile(t *testing.T) {
	c := apart(t)
	const rounds = 5
	for i := range rounds {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("br%d", i)
		err := c.Do(bridge(name))
		if err == nil {
			err = c.DoFromChild(deletion(name))
		}
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(pipe[1])
		if n, err := unix.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("a pipe that this process has closed is still open for writing: %d, %v", n, err)
		}
		unix.Close(pipe[0])
	}
	collected(t)
	t.Logf("%d pipes", rounds)
}

// pair is a veth pair with one end in another namespace.
func pair(namespace int) Request {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("v1"))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(namespace)))
	return Request{
		What: "make a pair", Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL,
		Body: []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("v0")), info},
	}
}

// The kernel's echo about the other end must reach no socket in that one's namespace,
// as it does where the port ids are the same.
func TestEchoStaysHere(t *testing.T) {
	other := inNamespace(t, unix.NETLINK_ROUTE)
	there, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	for _, row := range []struct {
		apart bool
		want  bool
	}{{false, true}, {true, false}} {
		c := inNamespace(t, unix.NETLINK_ROUTE)
		if row.apart {
			c.Apart()
		} else {
			c.apart = true // only to be let
		}
		_, err := other.Query(link("lo")) // gives it its port id
		if err == nil {
			err = c.Do(pair(int(there)))
		}
		if err == nil {
			err = c.DoFromChild(deletion("v0"))
		}
		if err != nil {
			t.Fatal(err)
		}
		collected(t)
		ready, err := poll(0, unix.PollFd{Fd: int32(other.fd), Events: unix.POLLIN})
		if err != nil || ready[0] != row.want {
			t.Errorf("apart %v: an echo in the other namespace: %v, %v; want %v", row.apart, ready, err, row.want)
		}
		if ready[0] {
			_, _ = other.receive()
		}
	}
	t.Log("2 deletions")
}
