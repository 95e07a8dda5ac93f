package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Flags of a LIST request, from linux/netfilter/ipset/ip_set.h; package nl has none.
const (
	flagListSetName = 1 << 1 // names only
	flagListHeader  = 1 << 2 // no members
)

// maxMembers bounds every set. It reserves no memory.
const maxMembers = 1 << 20

// Types of sets. Revision 0 of each is understood by every kernel.
const (
	hashIP  = "hash:ip"
	hashNet = "hash:net"
)

// sets speaks ipset over one netlink socket in the namespace it was opened in.
type sets struct {
	sockets map[int]*nl.SocketHandle
}

func openSets() (*sets, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter netlink socket: %w", err)
	}
	if err := s.SetReceiveTimeout(&nl.SocketTimeoutTv); err != nil {
		s.Close()
		return nil, fmt.Errorf("set the timeout of a netfilter netlink socket: %w", err)
	}
	return &sets{sockets: map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s}}}, nil
}

func (s *sets) close() {
	for _, h := range s.sockets {
		h.Close()
	}
}

// header is what the kernel tells of a set without listing its members.
type header struct {
	name       string
	references uint32 // rules that use it, of both iptables backends
	members    uint32
}

// header reads one set's header; unix.ENOENT when there is no such set.
func (s *sets) header(name string) (header, error) {
	req := s.request(nl.IPSET_CMD_LIST, name)
	req.AddData(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_FLAGS | nl.NLA_F_NET_BYTEORDER, Value: flagListHeader})
	msgs, err := s.execute(req)
	if err != nil {
		return header{}, fmt.Errorf("read the header of ipset %s: %w", name, err)
	}
	if len(msgs) == 0 {
		return header{}, fmt.Errorf("read the header of ipset %s: %w", name, unix.ENOENT)
	}
	return parseHeader(msgs[0]), nil
}

// names lists all sets of the namespace.
func (s *sets) names() ([]string, error) {
	req := s.request(nl.IPSET_CMD_LIST, "")
	req.AddData(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_FLAGS | nl.NLA_F_NET_BYTEORDER, Value: flagListSetName})
	msgs, err := s.execute(req)
	if err != nil {
		return nil, fmt.Errorf("list the names of the ipsets: %w", err)
	}
	names := make([]string, 0, len(msgs))
	for _, m := range msgs {
		names = append(names, parseHeader(m).name)
	}
	return names, nil
}

// create makes the set unless it is there already with the same properties.
func (s *sets) create(name, typ string, f family) error {
	req := s.request(nl.IPSET_CMD_CREATE, name)
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_TYPENAME, nl.ZeroTerminated(typ)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_REVISION, nl.Uint8Attr(0)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_FAMILY, nl.Uint8Attr(f.protocol())))
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
	data.AddChild(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_MAXELEM | nl.NLA_F_NET_BYTEORDER, Value: maxMembers})
	req.AddData(data)
	if _, err := s.execute(req); err != nil {
		return fmt.Errorf("create ipset %s (%s, IPv%s): %w", name, typ, f.suffix(), err)
	}
	return nil
}

// destroy removes the set; a set that does not exist is removed already. A
// set that rules still use gives IPSET_ERR_BUSY.
func (s *sets) destroy(name string) error {
	_, err := s.execute(s.request(nl.IPSET_CMD_DESTROY, name))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("destroy ipset %s: %w", name, err)
	}
	return nil
}

// add puts a prefix into the set; being in it already is success.
func (s *sets) add(name string, p netip.Prefix) error {
	if err := s.member(nl.IPSET_CMD_ADD, name, p); err != nil {
		return fmt.Errorf("add %s to ipset %s: %w", p, name, err)
	}
	return nil
}

// remove takes a prefix out of the set; not being in it is success, and so
// is the absence of the set.
func (s *sets) remove(name string, p netip.Prefix) error {
	if err := s.member(nl.IPSET_CMD_DEL, name, p); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s from ipset %s: %w", p, name, err)
	}
	return nil
}

// contains reports membership; unix.ENOENT when there is no such set.
func (s *sets) contains(name string, p netip.Prefix) (bool, error) {
	err := s.member(nl.IPSET_CMD_TEST, name, p)
	if errors.Is(err, nl.IPSetError(nl.IPSET_ERR_EXIST)) {
		return false, nil // TEST's way to say no
	}
	if err != nil {
		return false, fmt.Errorf("look for %s in ipset %s: %w", p, name, err)
	}
	return true, nil
}

// member sends ADD, DEL or TEST. Without NLM_F_EXCL the kernel takes a
// repeated ADD or DEL for success. A whole address carries no prefix length,
// which hash:ip would refuse or expand.
func (s *sets) member(cmd int, name string, p netip.Prefix) error {
	typ := nl.IPSET_ATTR_IPADDR_IPV6
	if p.Addr().Is4() {
		typ = nl.IPSET_ATTR_IPADDR_IPV4
	}
	req := s.request(cmd, name)
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
	ip := data.AddRtAttr(nl.IPSET_ATTR_IP|int(nl.NLA_F_NESTED), nil)
	ip.AddRtAttr(typ|int(nl.NLA_F_NET_BYTEORDER), p.Addr().AsSlice())
	if !p.IsSingleIP() {
		data.AddRtAttr(nl.IPSET_ATTR_CIDR, nl.Uint8Attr(uint8(p.Bits())))
	}
	req.AddData(data)
	_, err := s.execute(req)
	return err
}

// answers asks for the protocol version: does the kernel have ipset at all?
func (s *sets) answers() error {
	if _, err := s.execute(s.request(nl.IPSET_CMD_PROTOCOL, "")); err != nil {
		return fmt.Errorf("ask the kernel for its ipset protocol: %w", err)
	}
	return nil
}

// request starts a request about the named set, or about none with "".
func (s *sets) request(cmd int, name string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(cmd|unix.NFNL_SUBSYS_IPSET<<8, nl.GetIpsetFlags(cmd))
	req.Sockets = s.sockets
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	if name != "" {
		req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
	}
	return req
}

// execute sends the request and turns ipset's private error numbers into
// their names; others stay what they are.
func (s *sets) execute(req *nl.NetlinkRequest) ([][]byte, error) {
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	var errno syscall.Errno
	if errors.As(err, &errno) && errno >= nl.IPSET_ERR_PRIVATE {
		return nil, nl.IPSetError(errno)
	}
	return msgs, err
}

// parseHeader reads the answer to a LIST request.
func parseHeader(msg []byte) header {
	var h header
	if len(msg) < nl.SizeofNfgenmsg {
		return h
	}
	eachAttribute(msg[nl.SizeofNfgenmsg:], func(typ uint16, value []byte) {
		switch typ {
		case nl.IPSET_ATTR_SETNAME:
			h.name = unix.ByteSliceToString(value)
		case nl.IPSET_ATTR_DATA:
			h.parseData(value)
		}
	})
	return h
}

func (h *header) parseData(data []byte) {
	eachAttribute(data, func(typ uint16, value []byte) {
		if len(value) < 4 {
			return
		}
		switch typ {
		case nl.IPSET_ATTR_REFERENCES:
			h.references = binary.BigEndian.Uint32(value)
		case nl.IPSET_ATTR_ELEMENTS:
			h.members = binary.BigEndian.Uint32(value)
		}
	})
}

// eachAttribute walks netlink attributes, flags removed from their types.
// (nl.ParseAttributes starts a goroutine for it.)
func eachAttribute(b []byte, f func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofNlAttr || length > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK, b[unix.SizeofNlAttr:length])
		b = b[min((length+3)&^3, len(b)):]
	}
}
