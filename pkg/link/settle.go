package link

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
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

// localDeadline bounds the wait for the kernel's worker; localPoll is how soon to
// look again.
const (
	localDeadline = 5 * time.Second
	localPoll     = 50 * time.Microsecond
)

// awaitLocal waits until an IPv6 address is the pod's own to the kernel.
func (s *Sandbox) awaitLocal(a netip.Addr) error {
	if a.Is4() {
		return nil
	}
	for deadline := time.Now().Add(localDeadline); ; time.Sleep(localPoll) {
		hop, found, err := s.conn.route(a)
		if err != nil || found && hop.kind == unix.RTN_LOCAL {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("address %s is not in use by the pod's kernel after %s", a, localDeadline)
		}
	}
}
