package link

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
)

// Settle makes both ends of a pair ready to send, and the pod's addresses to
// receive. A link that has just got its carrier drops packets until the kernel's
// link watch has run (dev_activate), in a work queue that a busy node runs late;
// asking for the link runs it at once (rtnl_getlink, linkwatch_sync_dev). An IPv6
// address, even one without duplicate address detection, is the pod's only when
// another worker has added its route (addrconf_dad_work).
func Settle(h *Host, hostName string, s *Sandbox, podName string, addrs []netip.Addr) error {
	for _, end := range []struct {
		conn *conn
		name string
	}{{h.conn, hostName}, {s.conn, podName}} {
		if _, _, err := end.conn.linkByName(end.name); err != nil {
			return err
		}
	}
	for _, a := range addrs {
		if err := s.awaitLocal(a); err != nil {
			return err
		}
	}
	return nil
}

// localDeadline bounds the wait for the kernel's worker, which needs the lock of all
// namespaces' links: a node that starts and ends many pods at once holds it for seconds.
// localPoll is how soon to look again, twice as late each time up to localPollMost, for
// who looks all the time keeps the worker from the processor.
const (
	localDeadline = 30 * time.Second
	localPoll     = 50 * time.Microsecond
	localPollMost = 5 * time.Millisecond
)

// awaitLocal waits until an IPv6 address is the pod's own to the kernel.
func (s *Sandbox) awaitLocal(a netip.Addr) error {
	if a.Is4() {
		return nil
	}
	deadline := time.Now().Add(localDeadline)
	for wait := localPoll; ; wait = min(2*wait, localPollMost) {
		hop, found, err := fib.Find(s.conn.Conn, a)
		if err != nil || found && hop.Kind == unix.RTN_LOCAL {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("address %s is not in use by the pod's kernel after %s", a, localDeadline)
		}
		time.Sleep(wait)
	}
}
