package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
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
	hashIP       = "hash:ip"
	hashNet      = "hash:net"
	hashNetIface = "hash:net,iface"
	ports        = "bitmap:port"
	list         = "list:set"
)

// maxListed bounds a list of sets: as many as a rule can name application
// security groups, and more.
const maxListed = 64

// errNoIPSet says that the kernel knows nothing of ipset: there are no sets, and
// there can be none.
var errNoIPSet = errors.New("the kernel has no ipset (module ip_set)")

// sets speaks ipset over one netlink socket in the namespace it was opened in.
type sets struct {
	conn *nlsock.Conn
	// The kernel's subsystems (NFNL_SUBSYS_… of linux/netfilter/nfnetlink.h);
	// tests put in one that no kernel has.
	ipset, conntrack uint16
}

func openSets() (*sets, error) {
	c, err := nlsock.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	return &sets{conn: c, ipset: unix.NFNL_SUBSYS_IPSET, conntrack: unix.NFNL_SUBSYS_CTNETLINK}, nil
}

func (s *sets) close() { s.conn.Close() }

// header is what the kernel tells of a set without listing its members.
type header struct {
	name       string
	references uint32 // rules that use it, of both iptables backends
	members    uint32
}

// header reads one set's header; unix.ENOENT when there is no such set.
func (s *sets) header(name string) (header, error) {
	headers, err := s.list("read the header of ipset "+name, name, flagListHeader)
	if err != nil {
		return header{}, err
	}
	if len(headers) == 0 {
		return header{}, fmt.Errorf("read the header of ipset %s: %w", name, unix.ENOENT)
	}
	return headers[0], nil
}

// names lists all sets of the namespace: none where the kernel has no ipset.
func (s *sets) names() ([]string, error) {
	headers, err := s.list("list the names of the ipsets", "", flagListSetName)
	if errors.Is(err, errNoIPSet) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(headers))
	for _, h := range headers {
		names = append(names, h.name)
	}
	return names, nil
}

func (s *sets) list(what, name string, flags uint32) ([]header, error) {
	msgs, err := s.conn.Dump(s.request(what, nl.IPSET_CMD_LIST, name,
		&nl.Uint32Attribute{Type: nl.IPSET_ATTR_FLAGS | nl.NLA_F_NET_BYTEORDER, Value: flags}))
	if err != nil {
		return nil, s.named(err)
	}
	headers := make([]header, 0, len(msgs))
	for _, m := range msgs {
		headers = append(headers, parseHeader(m))
	}
	return headers, nil
}

// create makes the set unless it is there already with the same properties.
func (s *sets) create(name, typ string, f family) error {
	return s.named(s.conn.Do(s.creation(name, typ, f)))
}

func (s *sets) creation(name, typ string, f family) nlsock.Request {
	data, protocol := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil), f.protocol()
	switch typ {
	case ports:
		addPort(data, nl.IPSET_ATTR_PORT_FROM, 0)
		addPort(data, nl.IPSET_ATTR_PORT_TO, math.MaxUint16)
		protocol = unix.AF_UNSPEC
	case list:
		data.AddChild(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_SIZE | nl.NLA_F_NET_BYTEORDER, Value: maxListed})
		protocol = unix.AF_UNSPEC
	default:
		data.AddChild(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_MAXELEM | nl.NLA_F_NET_BYTEORDER, Value: maxMembers})
	}
	r := s.request(fmt.Sprintf("create ipset %s (%s, IPv%s)", name, typ, f.suffix()), nl.IPSET_CMD_CREATE, name,
		nl.NewRtAttr(nl.IPSET_ATTR_TYPENAME, nl.ZeroTerminated(typ)),
		nl.NewRtAttr(nl.IPSET_ATTR_REVISION, nl.Uint8Attr(0)),
		nl.NewRtAttr(nl.IPSET_ATTR_FAMILY, nl.Uint8Attr(protocol)),
		data)
	r.Flags = unix.NLM_F_CREATE
	return r
}

func addPort(data *nl.RtAttr, typ int, port uint16) {
	data.AddRtAttr(typ|int(nl.NLA_F_NET_BYTEORDER), []byte{byte(port >> 8), byte(port)})
}

// destroy removes the set; a set that does not exist is removed already. A
// set that rules still use gives IPSET_ERR_BUSY.
func (s *sets) destroy(name string) error {
	r := s.request("destroy ipset "+name, nl.IPSET_CMD_DESTROY, name)
	r.Ignore = []syscall.Errno{unix.ENOENT}
	return unlessNoIPSet(s.named(s.conn.Do(r)))
}

// do sends requests, as many with one system call as nlsock does.
func (s *sets) do(requests []nlsock.Request) error { return s.named(s.conn.Do(requests...)) }

// additions are requests that add prefixes to the set.
func (s *sets) additions(name string, prefixes []netip.Prefix) []nlsock.Request {
	out := make([]nlsock.Request, 0, len(prefixes))
	for _, p := range prefixes {
		out = append(out, s.addition(name, p))
	}
	return out
}

func (s *sets) addition(name string, p netip.Prefix) nlsock.Request {
	return s.member(fmt.Sprintf("add %s to ipset %s", p, name), nl.IPSET_CMD_ADD, name, p)
}

// portAdditions are requests that add ranges to a set of ports.
func (s *sets) portAdditions(name string, ranges []nsg.PortRange) []nlsock.Request {
	out := make([]nlsock.Request, 0, len(ranges))
	for _, r := range ranges {
		data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
		addPort(data, nl.IPSET_ATTR_PORT_FROM, r.First)
		addPort(data, nl.IPSET_ATTR_PORT_TO, r.Last)
		out = append(out, s.request(fmt.Sprintf("add ports %d-%d to ipset %s", r.First, r.Last, name), nl.IPSET_CMD_ADD, name, data))
	}
	return out
}

// setAdditions are requests that add sets to a list of sets.
func (s *sets) setAdditions(name string, members []string) []nlsock.Request {
	out := make([]nlsock.Request, 0, len(members))
	for _, m := range members {
		data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
		data.AddRtAttr(nl.IPSET_ATTR_NAME, nl.ZeroTerminated(m))
		out = append(out, s.request("add set "+m+" to ipset "+name, nl.IPSET_CMD_ADD, name, data))
	}
	return out
}

// add puts a prefix into the set; being in it already is success.
func (s *sets) add(name string, p netip.Prefix) error {
	return s.named(s.conn.Do(s.addition(name, p)))
}

// remove takes a prefix out of the set; not being in it is success, and so
// is the absence of the set or of ipset.
func (s *sets) remove(name string, p netip.Prefix) error {
	return unlessNoIPSet(s.named(s.conn.Do(s.removal(name, p.Addr()))))
}

// removal is the request of remove.
func (s *sets) removal(name string, a netip.Addr) nlsock.Request {
	r := s.member(fmt.Sprintf("remove %s from ipset %s", a, name), nl.IPSET_CMD_DEL, name, single(a))
	r.Ignore = []syscall.Errno{unix.ENOENT}
	return r
}

// contains reports membership; unix.ENOENT when there is no such set.
func (s *sets) contains(name string, p netip.Prefix) (bool, error) {
	err := s.named(s.conn.Do(s.member(fmt.Sprintf("look for %s in ipset %s", p, name), nl.IPSET_CMD_TEST, name, p)))
	if errors.Is(err, nl.IPSetError(nl.IPSET_ERR_EXIST)) {
		return false, nil // TEST's way to say no
	}
	return err == nil, err
}

// member is an ADD, DEL or TEST. Without NLM_F_EXCL the kernel takes a
// repeated ADD or DEL for success. A whole address carries no prefix length,
// which hash:ip would refuse or expand.
func (s *sets) member(what string, cmd int, name string, p netip.Prefix) nlsock.Request {
	return s.request(what, cmd, name, memberData(p))
}

// memberData is the attributes of an entry.
func memberData(p netip.Prefix) *nl.RtAttr {
	typ := nl.IPSET_ATTR_IPADDR_IPV6
	if p.Addr().Is4() {
		typ = nl.IPSET_ATTR_IPADDR_IPV4
	}
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
	ip := data.AddRtAttr(nl.IPSET_ATTR_IP|int(nl.NLA_F_NESTED), nil)
	ip.AddRtAttr(typ|int(nl.NLA_F_NET_BYTEORDER), p.Addr().AsSlice())
	if !p.IsSingleIP() {
		data.AddRtAttr(nl.IPSET_ATTR_CIDR, nl.Uint8Attr(uint8(p.Bits())))
	}
	return data
}

// answers asks for the protocol version: does the kernel have ipset at all? It
// answers a subsystem that it lacks with EINVAL (nfnetlink_rcv_msg), and ipset
// itself has no such answer to this.
func (s *sets) answers() error {
	_, err := s.conn.Query(s.request("ask the kernel for its ipset protocol", nl.IPSET_CMD_PROTOCOL, ""))
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", errNoIPSet, err)
	}
	return err
}

// request is a request about the named set, or about none with "".
func (s *sets) request(what string, cmd int, name string, more ...nl.NetlinkRequestData) nlsock.Request {
	body := []nl.NetlinkRequestData{
		&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0},
		nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)),
	}
	if name != "" {
		body = append(body, nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
	}
	return nlsock.Request{What: what, Type: uint16(cmd) | s.ipset<<8, Body: append(body, more...)}
}

// rulesGeneration asks nf_tables for its generation, which counts its transactions and
// is never 0 (nf_tables_commit).
func (s *sets) rulesGeneration() (uint32, error) {
	const what = "ask for the generation of the kernel's rules"
	msg, err := s.conn.Query(nlsock.Request{What: what, Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN,
		Body: []nl.NetlinkRequestData{&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0}}})
	if err != nil {
		return 0, err
	}
	if len(msg) >= nl.SizeofNfgenmsg {
		for typ, value := range nlsock.Attributes(msg[nl.SizeofNfgenmsg:]) {
			if typ == unix.NFTA_GEN_ID && len(value) == 4 {
				return binary.BigEndian.Uint32(value), nil
			}
		}
	}
	return 0, errors.New(what + ": the answer has none")
}

// named adds package nl's words to ipset's private error numbers, for which the
// system has none, and errNoIPSet where that is what EINVAL means.
func (s *sets) named(err error) error {
	var errno syscall.Errno
	switch {
	case !errors.As(err, &errno):
		return err
	case errno >= nl.IPSET_ERR_PRIVATE:
		return fmt.Errorf("%w (%w)", err, nl.IPSetError(errno))
	case errno == unix.EINVAL && errors.Is(s.answers(), errNoIPSet):
		return fmt.Errorf("%w: %w", errNoIPSet, err)
	}
	return err
}

// unlessNoIPSet is for removals: without ipset, what they remove is gone already.
func unlessNoIPSet(err error) error {
	if errors.Is(err, errNoIPSet) {
		return nil
	}
	return err
}

// noSuchSet reports whether err says that there is no such set.
func noSuchSet(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, errNoIPSet) }

// parseHeader reads the answer to a LIST request.
func parseHeader(msg []byte) header {
	var h header
	if len(msg) < nl.SizeofNfgenmsg {
		return h
	}
	for typ, value := range nlsock.Attributes(msg[nl.SizeofNfgenmsg:]) {
		switch typ {
		case nl.IPSET_ATTR_SETNAME:
			h.name = unix.ByteSliceToString(value)
		case nl.IPSET_ATTR_DATA:
			h.parseData(value)
		}
	}
	return h
}

func (h *header) parseData(data []byte) {
	for typ, value := range nlsock.Attributes(data) {
		if len(value) < 4 {
			continue
		}
		switch typ {
		case nl.IPSET_ATTR_REFERENCES:
			h.references = binary.BigEndian.Uint32(value)
		case nl.IPSET_ATTR_ELEMENTS:
			h.members = binary.BigEndian.Uint32(value)
		}
	}
}
