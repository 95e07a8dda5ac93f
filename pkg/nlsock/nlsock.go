// Package nlsock is a conversation with the kernel over one netlink socket.
// Compared with netlink/nl's Execute, whose messages it uses, it sends many
// requests in one system call, keeps the socket away from Go's poller, begins an
// interrupted listing anew, and says in each error what was attempted.
//
// It knows netlink's framing, acknowledgements and listings, and how a link's address
// is told, which several packages ask for. It must not know what any other message
// means.
package nlsock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Conn is a socket in the network namespace that it was opened in. It is not for
// use by several goroutines at a time.
type Conn struct {
	fd    int
	seq   uint32
	buf   []byte
	apart bool // see Apart
}

// Request is one message to the kernel.
type Request struct {
	What  string // for errors: "delete link vnet1"
	Type  uint16
	Flags uint16 // besides NLM_F_REQUEST and what the method adds
	// Ignore lists errors which mean that the wanted state is there already.
	Ignore []syscall.Errno
	Body   []nl.NetlinkRequestData
}

const (
	// replyTimeout, in seconds, bounds the wait for an answer. The kernel
	// answers before sendto returns, so that only a fault makes it matter.
	replyTimeout = 10

	// bufferSize is what the kernel fills at most with one part of a listing
	// (netlink_dump).
	bufferSize = 32 << 10

	// dumpAttempts bounds how often a listing is begun anew because the table
	// changed under it.
	dumpAttempts = 100

	// atOnce is how many requests go into one system call: the
	// acknowledgements of some 280 would overflow a receive buffer of the
	// default size (net.core.rmem_default).
	atOnce = 64
)

// Dial opens a socket of the protocol (NETLINK_ROUTE, …) in the calling thread's
// network namespace.
func Dial(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return newConn(fd)
}

// DialIn opens one in the network namespace that a file descriptor leads to.
func DialIn(protocol, namespace int) (*Conn, error) {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open this thread's network namespace: %w", err)
	}
	defer unix.Close(home)
	fd, err := socketIn(namespace, home, protocol)
	if err != nil {
		return nil, err
	}
	return newConn(fd)
}

func newConn(fd int) (*Conn, error) {
	// Extended acknowledgements carry the kernel's own words for a refusal;
	// capped ones leave out the copy of the request; strict checks make it filter
	// listings. All are comforts: an old kernel without them is served as well.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	tv := unix.Timeval{Sec: replyTimeout}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set the timeout of a netlink socket: %w", err)
	}
	return &Conn{fd: fd, buf: make([]byte, bufferSize)}, nil
}

// Close releases the socket.
func (c *Conn) Close() { unix.Close(c.fd) }

// Do sends the requests in as few system calls as possible, waits until the kernel
// is done with all and returns the first failure. The kernel works through them in
// order (netlink_rcv_skb) and goes on after one that failed: a rollback must not rely
// on where it stopped.
func (c *Conn) Do(requests ...Request) error {
	var failed error
	for part := range slices.Chunk(requests, atOnce) {
		if err := c.doPart(part); failed == nil {
			failed = err
		}
	}
	return failed
}

// doPart asks for the acknowledgement of the last request only: the kernel tells of
// failures unasked.
func (c *Conn) doPart(requests []Request) error {
	first, last := c.seq+1, len(requests)-1
	var out []byte
	for i, r := range requests {
		var flags uint16
		if i == last {
			flags = unix.NLM_F_ACK
		}
		out = append(out, c.serialise(r, flags)...)
	}
	if err := c.send(out); err != nil {
		return fmt.Errorf("%s: %w", requests[0].What, err)
	}
	var failed error
	for {
		messages, err := c.receive()
		if err != nil {
			return fmt.Errorf("%s: %w", requests[0].What, err)
		}
		for _, m := range messages {
			i := int(m.Header.Seq - first)
			if m.Header.Type != unix.NLMSG_ERROR || i < 0 || i > last {
				continue
			}
			if err := requests[i].failure(ackError(m)); failed == nil {
				failed = err
			}
			if i == last {
				return failed
			}
		}
	}
}

// failure is err with what was attempted, unless it is one to ignore.
func (r Request) failure(err error) error {
	if err == nil {
		return nil
	}
	for _, e := range r.Ignore {
		if errors.Is(err, e) {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", r.What, err)
}

// Query sends a request that is answered by one message, and returns that
// message's payload, which is valid until the next call.
func (c *Conn) Query(r Request) ([]byte, error) {
	payloads, _, err := c.exchange(r, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.What, err)
	}
	if len(payloads) == 0 {
		return nil, fmt.Errorf("%s: the kernel sent no answer", r.What)
	}
	return payloads[0], nil
}

// Dump sends a listing request and returns the payload of every entry: the whole
// list, for a partial one must never pass for it (NLM_F_DUMP_INTR).
func (c *Conn) Dump(r Request) ([][]byte, error) {
	for range dumpAttempts {
		payloads, whole, err := c.exchange(r, unix.NLM_F_DUMP)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.What, err)
		}
		if whole {
			return payloads, nil
		}
	}
	return nil, fmt.Errorf("%s: the kernel's table changed during each of %d attempts", r.What, dumpAttempts)
}

// exchange sends one request and collects the answers to it up to the last.
func (c *Conn) exchange(r Request, flags uint16) (payloads [][]byte, whole bool, err error) {
	out := c.serialise(r, flags)
	if err := c.send(out); err != nil {
		return nil, false, err
	}
	seq := c.seq
	whole = true
	for {
		messages, err := c.receive()
		if err != nil {
			return nil, false, err
		}
		for _, m := range messages {
			if m.Header.Seq != seq {
				continue // of an earlier request that had more answers than it needed
			}
			whole = whole && m.Header.Flags&unix.NLM_F_DUMP_INTR == 0
			switch {
			case m.Header.Type == unix.NLMSG_ERROR, m.Header.Type == unix.NLMSG_DONE:
				return payloads, whole, ackError(m)
			case m.Header.Flags&unix.NLM_F_MULTI == 0:
				return append(payloads, m.Data), whole, nil
			}
			payloads = append(payloads, bytes.Clone(m.Data))
		}
	}
}

func (c *Conn) serialise(r Request, flags uint16) []byte {
	c.seq++
	message := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{
		Type: r.Type, Flags: unix.NLM_F_REQUEST | r.Flags | flags, Seq: c.seq,
	}, Data: r.Body}
	return message.Serialize()
}

func (c *Conn) send(b []byte) error {
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to the kernel: %w", err)
	}
	return nil
}

func (c *Conn) receive() ([]syscall.NetlinkMessage, error) {
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil, fmt.Errorf("no answer from the kernel in %d s", replyTimeout)
		case err != nil:
			return nil, fmt.Errorf("receive from the kernel: %w", err)
		}
		return syscall.ParseNetlinkMessage(c.buf[:n])
	}
}

// ackError returns the error in an acknowledgement or at the end of a listing,
// with the kernel's text where it gave one; nil for success.
func ackError(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		if m.Header.Type == unix.NLMSG_DONE {
			return nil
		}
		return errors.New("short netlink acknowledgement")
	}
	code := int32(binary.NativeEndian.Uint32(m.Data))
	if code >= 0 {
		return nil
	}
	errno := syscall.Errno(-code)
	const capped = 4 + unix.SizeofNlMsghdr // the code and the request's header
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 || len(m.Data) <= capped {
		return errno
	}
	for typ, value := range Attributes(m.Data[capped:]) {
		if typ == nl.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%w (%s)", errno, unix.ByteSliceToString(value))
		}
	}
	return errno
}
