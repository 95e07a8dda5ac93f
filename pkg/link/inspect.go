package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Expectation is what Problems holds the kernel to.
type Expectation struct {
	HostName string
	PodName  string
	PodMAC   net.HardwareAddr
	Addrs    []netip.Addr
	Routes   []Route // extra routes of the pod
	Uplink   string  // "": the node answers for no address there
}

// Problems compares the kernel with e and returns each difference in words for
// people. It changes nothing. The error is for questions the kernel did not answer.
func Problems(h *Host, s *Sandbox, e Expectation) ([]string, error) {
	var found []string
	host, ok, err := h.conn.linkByName(e.HostName)
	if err != nil {
		return nil, err
	}
	if !ok {
		found = append(found, fmt.Sprintf("link %s is gone from the node", e.HostName))
	}
	for _, part := range []func() ([]string, error){
		func() ([]string, error) { return nodeSysctls.forwardingProblems(e.Addrs) },
		func() ([]string, error) { return h.hostProblems(host, ok, e) },
		func() ([]string, error) { return h.proxyProblems(e) },
		func() ([]string, error) { return s.podProblems(host, e) },
	} {
		more, err := part()
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

func (h *Host) hostProblems(host Link, exists bool, e Expectation) ([]string, error) {
	if !exists {
		return nil, nil
	}
	found := linkProblems(host, HostMAC, "the node")
	problem, err := ipv6Problem(host, e)
	if err != nil {
		return nil, err
	}
	found = append(found, problem...)
	for _, a := range e.Addrs {
		hop, ok, err := fib.Find(h.conn.Conn, a)
		if err != nil {
			return nil, err
		}
		if !ok || hop.Dst.Bits() != a.BitLen() || hop.Link != host.Index {
			found = append(found, fmt.Sprintf("the node's route to %s through %s is gone", a, host.Name))
		}
		problem, err := h.conn.neighbourProblem(a, host, e.PodMAC, "the node")
		if err != nil {
			return nil, err
		}
		found = append(found, problem...)
	}
	return found, nil
}

// ipv6Problem tells of a host end that hears the IPv6 of a pod without an address of it:
// whoever writes net.ipv6.conf.all.disable_ipv6 writes that of all interfaces, and
// without another network with IPv6 nothing filters what comes from there.
func ipv6Problem(host Link, e Expectation) ([]string, error) {
	if slices.ContainsFunc(e.Addrs, netip.Addr.Is6) {
		return nil, nil
	}
	off, err := nodeSysctls.read("ipv6/conf/" + host.Name + "/disable_ipv6")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // a kernel without IPv6
	case err != nil:
		return nil, err
	case off == "0":
		return []string{fmt.Sprintf("IPv6 is switched on for link %s on the node, and the pod has no IPv6 address", host.Name)}, nil
	}
	return nil, nil
}

func linkProblems(l Link, mac net.HardwareAddr, where string) []string {
	var found []string
	if !l.Up {
		found = append(found, fmt.Sprintf("link %s on %s is down", l.Name, where))
	}
	if !bytes.Equal(l.MAC, mac) {
		found = append(found, fmt.Sprintf("link %s on %s has MAC %s instead of %s", l.Name, where, l.MAC, mac))
	}
	return found
}

func (c *conn) neighbourProblem(a netip.Addr, l Link, mac net.HardwareAddr, where string) ([]string, error) {
	n, ok, err := c.neighbour(a, l.Index, 0)
	switch {
	case err != nil:
		return nil, err
	case !ok || n.state&unix.NUD_PERMANENT == 0:
		return []string{fmt.Sprintf("the permanent neighbour %s on %s of %s is gone", a, l.Name, where)}, nil
	case !bytes.Equal(n.mac, mac):
		return []string{fmt.Sprintf("the neighbour %s on %s of %s has MAC %s instead of %s", a, l.Name, where, n.mac, mac)}, nil
	}
	return nil, nil
}

func (h *Host) proxyProblems(e Expectation) ([]string, error) {
	if e.Uplink == "" {
		return nil, nil
	}
	up, ok, err := h.conn.linkByName(e.Uplink)
	if err != nil {
		return nil, err
	}
	if !ok {
		return []string{fmt.Sprintf("the uplink %s is gone", e.Uplink)}, nil
	}
	var found []string
	for _, a := range e.Addrs {
		_, ok, err := h.conn.neighbour(a, up.Index, unix.NTF_PROXY)
		if err != nil {
			return nil, err
		}
		if !ok {
			found = append(found, fmt.Sprintf("the proxy neighbour %s on the uplink %s is gone", a, e.Uplink))
		}
	}
	return found, nil
}

func (s *Sandbox) podProblems(host Link, e Expectation) ([]string, error) {
	pod, ok, err := s.conn.linkByName(e.PodName)
	if err != nil {
		return nil, err
	}
	if !ok {
		return []string{fmt.Sprintf("link %s is gone from the pod", e.PodName)}, nil
	}
	found := linkProblems(pod, e.PodMAC, "the pod")
	if host.Index != 0 && !pair(host, pod) {
		found = append(found, fmt.Sprintf("link %s of the pod is not the other end of %s", e.PodName, e.HostName))
	}
	for _, part := range []func(Link, Expectation) ([]string, error){
		s.addressProblems, s.routeProblems, s.gatewayProblems,
	} {
		more, err := part(pod, e)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

func (s *Sandbox) addressProblems(pod Link, e Expectation) ([]string, error) {
	have, err := s.conn.addresses(pod.Index)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, a := range e.Addrs {
		want := netip.PrefixFrom(a, a.BitLen())
		if !slices.ContainsFunc(have, func(x nlsock.Address) bool { return x.Prefix == want }) {
			found = append(found, fmt.Sprintf("address %s is gone from %s of the pod", want, pod.Name))
		}
	}
	return found, nil
}

func (s *Sandbox) routeProblems(pod Link, e Expectation) ([]string, error) {
	have, err := s.conn.routes(pod.Index)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, want := range PodRoutes(e.Addrs, e.Routes) {
		if want.Table != 0 && want.Table != unix.RT_TABLE_MAIN {
			continue // only the main table was listed
		}
		same := func(hop fib.Route) bool { return hop.Dst == want.Dst && hop.Via == want.Via }
		if !slices.ContainsFunc(have, same) {
			found = append(found, fmt.Sprintf("route %s is gone from the pod", want))
		}
	}
	return found, nil
}

func (s *Sandbox) gatewayProblems(pod Link, e Expectation) ([]string, error) {
	var found []string
	for _, gw := range gateways(e.Addrs) {
		problem, err := s.conn.neighbourProblem(gw, pod, HostMAC, "the pod")
		if err != nil {
			return nil, err
		}
		found = append(found, problem...)
	}
	return found, nil
}

// routes lists the main table's routes through one link, or all with index 0.
func (c *conn) routes(index int) ([]fib.Route, error) {
	var list []fib.Route
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		payloads, err := c.Dump(routeDump(fam, index))
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENOENT) {
			continue // a kernel without this family, or a namespace without a table for it
		}
		if err != nil {
			return nil, err
		}
		for _, p := range payloads {
			hop, err := fib.ParseRoute(p)
			if err != nil {
				return nil, fmt.Errorf("list routes: %w", err)
			}
			if index == 0 || hop.Link == index {
				list = append(list, hop)
			}
		}
	}
	return list, nil
}

// neighbour is one entry of the neighbour table, or of the proxy table.
type neighbour struct {
	index int
	state uint16
	addr  netip.Addr
	mac   net.HardwareAddr
}

func (c *conn) neighbour(a netip.Addr, index int, flags uint8) (neighbour, bool, error) {
	data, err := c.Query(neighbourQuery(a, index, flags))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return neighbour{}, false, nil // ENODEV: the link went since it was listed
	}
	if err != nil {
		return neighbour{}, false, err
	}
	n, err := parseNeighbour(data)
	return n, err == nil, err
}

func parseNeighbour(data []byte) (neighbour, error) {
	if len(data) < unix.SizeofNdMsg {
		return neighbour{}, errors.New("short neighbour message")
	}
	n := neighbour{
		index: int(binary.NativeEndian.Uint32(data[4:])),
		state: binary.NativeEndian.Uint16(data[8:]),
	}
	for typ, value := range nlsock.Attributes(data[unix.SizeofNdMsg:]) {
		switch typ {
		case unix.NDA_DST:
			n.addr, _ = netip.AddrFromSlice(value)
		case unix.NDA_LLADDR:
			n.mac = bytes.Clone(value)
		}
	}
	return n, nil
}

// proxies lists the proxy neighbour entries of all links.
func (c *conn) proxies() ([]neighbour, error) {
	var list []neighbour
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		r := nlsock.Request{What: "list proxy neighbours", Type: unix.RTM_GETNEIGH,
			Body: []nl.NetlinkRequestData{ndMessage{family: fam, flags: unix.NTF_PROXY}}}
		payloads, err := c.Dump(r)
		if err != nil {
			return nil, err
		}
		for _, p := range payloads {
			n, err := parseNeighbour(p)
			if err != nil {
				return nil, fmt.Errorf("list proxy neighbours: %w", err)
			}
			list = append(list, n)
		}
	}
	return list, nil
}

// PeerIn returns the pod's end of a host veth, or false when the sandbox holds
// no interface of that name which is the other end of it.
func (s *Sandbox) PeerIn(host Link, podName string) (Link, bool, error) {
	l, ok, err := s.conn.linkByName(podName)
	if err != nil || !ok {
		return Link{}, false, err
	}
	return l, pair(host, l), nil
}

// pair tells whether two links, each in its own namespace, can be one veth pair:
// each names the other's index.
func pair(host, pod Link) bool {
	return pod.Kind == "veth" && pod.Peer == host.Index && host.Peer == pod.Index
}

// Link returns the named link of the pod, or false.
func (s *Sandbox) Link(name string) (Link, bool, error) { return s.conn.linkByName(name) }
