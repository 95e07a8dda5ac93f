package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// conn is an rtnetlink socket in one network namespace. It sends many requests
// in one system call: the kernel works through a datagram of requests in order
// (netlink_rcv_skb) and acknowledges each.
type conn struct {
	fd  int
	seq uint32
	buf []byte
}

// replyTimeout bounds the wait for an acknowledgement. The kernel answers before
// sendto returns, so that only a fault makes it matter.
const replyTimeoutSeconds = 10

// dial opens the socket in the calling thread's namespace.
func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a route netlink socket: %w", err)
	}
	c := &conn{fd: fd, buf: make([]byte, 32<<10)}
	// Extended acknowledgements carry the kernel's own words for a refusal;
	// capped ones leave out the copy of the request; strict checks make it filter
	// listings. All are comforts: an old kernel without them is served as well.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	tv := unix.Timeval{Sec: replyTimeoutSeconds}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		c.Close()
		return nil, fmt.Errorf("set the timeout of a netlink socket: %w", err)
	}
	return c, nil
}

func (c *conn) Close() { unix.Close(c.fd) }

// request is one netlink message, with the words for its failure.
type request struct {
	what  string
	typ   uint16
	flags uint16
	// ignore lists errors that mean that the wanted state is there already.
	ignore []syscall.Errno
	body   []nl.NetlinkRequestData
}

// do sends the requests together and returns the first failure. The kernel goes
// on after a request that failed: the caller's rollback must not rely on an order.
func (c *conn) do(requests ...request) error {
	if len(requests) == 0 {
		return nil
	}
	first := c.seq + 1
	var out []byte
	for _, r := range requests {
		out = append(out, c.serialise(r, unix.NLM_F_ACK)...)
	}
	if err := c.send(requests[0].what, out); err != nil {
		return err
	}
	var failed error
	for pending := len(requests); pending > 0; {
		messages, err := c.receive()
		if err != nil {
			return fmt.Errorf("%s: %w", requests[0].what, err)
		}
		for _, m := range messages {
			i := int(m.Header.Seq - first)
			if m.Header.Type != unix.NLMSG_ERROR || i < 0 || i >= len(requests) {
				continue
			}
			pending--
			if err := ackError(m); err != nil && !ignored(err, requests[i].ignore) && failed == nil {
				failed = fmt.Errorf("%s: %w", requests[i].what, err)
			}
		}
	}
	return failed
}

// query sends one request that is answered by one message, and returns that
// message's payload.
func (c *conn) query(r request) ([]byte, error) {
	out := c.serialise(r, 0)
	seq := c.seq
	if err := c.send(r.what, out); err != nil {
		return nil, err
	}
	for {
		messages, err := c.receive()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.what, err)
		}
		for _, m := range messages {
			if m.Header.Seq != seq {
				continue
			}
			if m.Header.Type != unix.NLMSG_ERROR {
				return m.Data, nil
			}
			if err := ackError(m); err != nil {
				return nil, fmt.Errorf("%s: %w", r.what, err)
			}
			return nil, fmt.Errorf("%s: the kernel sent no answer", r.what)
		}
	}
}

// dumpAttempts bounds how often a listing is begun anew because the tables
// changed under it (NLM_F_DUMP_INTR): a partial list must never pass for the whole.
const dumpAttempts = 100

// dump sends a listing request and returns the payload of every answer.
func (c *conn) dump(r request) ([][]byte, error) {
	for range dumpAttempts {
		payloads, whole, err := c.dumpOnce(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.what, err)
		}
		if whole {
			return payloads, nil
		}
	}
	return nil, fmt.Errorf("%s: the kernel's table changed during each of %d attempts", r.what, dumpAttempts)
}

func (c *conn) dumpOnce(r request) (payloads [][]byte, whole bool, err error) {
	out := c.serialise(r, unix.NLM_F_DUMP)
	seq := c.seq
	if err := c.send(r.what, out); err != nil {
		return nil, false, err
	}
	whole = true
	for {
		messages, err := c.receive()
		if err != nil {
			return nil, false, err
		}
		for _, m := range messages {
			if m.Header.Seq != seq {
				continue
			}
			if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
				whole = false
			}
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return payloads, whole, nil
			case unix.NLMSG_ERROR:
				return nil, false, ackError(m)
			}
			payloads = append(payloads, bytes.Clone(m.Data))
		}
	}
}

func (c *conn) serialise(r request, flags uint16) []byte {
	c.seq++
	req := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{
		Type: r.typ, Flags: unix.NLM_F_REQUEST | r.flags | flags, Seq: c.seq,
	}, Data: r.body}
	return req.Serialize()
}

func (c *conn) send(what string, b []byte) error {
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("%s: send to the kernel: %w", what, err)
	}
	return nil
}

func (c *conn) receive() ([]syscall.NetlinkMessage, error) {
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil, fmt.Errorf("no answer from the kernel in %d s", replyTimeoutSeconds)
		case err != nil:
			return nil, fmt.Errorf("receive from the kernel: %w", err)
		}
		return syscall.ParseNetlinkMessage(c.buf[:n])
	}
}

// ackError returns the error in an NLMSG_ERROR message, with the kernel's text
// where it gave one; nil for an acknowledgement.
func ackError(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return errors.New("short netlink acknowledgement")
	}
	code := int32(binary.NativeEndian.Uint32(m.Data))
	if code == 0 {
		return nil
	}
	errno := syscall.Errno(-code)
	const capped = 4 + unix.SizeofNlMsghdr
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 || len(m.Data) <= capped {
		return errno
	}
	attrs, err := nl.ParseRouteAttrAsMap(m.Data[capped:])
	if err != nil {
		return errno
	}
	if text, ok := attrs[nl.NLMSGERR_ATTR_MSG]; ok {
		return fmt.Errorf("%w (%s)", errno, unix.ByteSliceToString(text.Value))
	}
	return errno
}

func ignored(err error, list []syscall.Errno) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
