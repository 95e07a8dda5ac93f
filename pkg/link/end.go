package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// ErrUnfiltered is in the chain of errors about an interface whose packets do not
// pass the node's packet filter, or not all of them.
var ErrUnfiltered = errors.New("the node's packet filter does not see all packets of the pod")

// End is the node's end of a pair that some main plugin made for a pod.
type End struct {
	PodName string
	Name    string
	Index   int
	Device  string // what the packet filter takes its packets to come through: the bridge that it is in, else itself
	// LinkLocal are the pod's own IPv6 addresses that work on this link alone: those
	// that it has, and the one that the kernel makes of its MAC. None where IPv6 is
	// switched off, and none behind an interface of ours, where they are dropped.
	LinkLocal []netip.Addr

	bridge *Link
}

// EndOf finds the node's end of the pod's interface. For an interface whose packets do
// not come to the node's packet filter at all, such as a macvlan, or that is not there,
// errors.Is(err, ErrUnfiltered) holds.
func (h *Host) EndOf(s *Sandbox, podName string) (End, error) {
	pod, found, err := s.conn.linkByName(podName)
	if err != nil {
		return End{}, err
	}
	if !found {
		return End{}, fmt.Errorf("interface %s: there is none in the pod: %w", podName, ErrUnfiltered)
	}
	if pod.Kind != "veth" {
		return End{}, fmt.Errorf("interface %s of the pod is of the kind %q, not a veth: %w", podName, pod.Kind, ErrUnfiltered)
	}
	host, found, err := h.LinkAt(pod.Peer)
	if err == nil && found {
		found, err = h.leadsTo(host, pod, s)
	}
	if err != nil {
		return End{}, err
	}
	if !found {
		return End{}, fmt.Errorf("interface %s of the pod has its other end elsewhere than on the node: %w", podName, ErrUnfiltered)
	}
	e := End{PodName: podName, Name: host.Name, Index: host.Index, Device: host.Name}
	if err := h.findBridge(&e, host); err != nil {
		return End{}, err
	}
	if _, _, _, ours := ParseAlias(host.Alias); !ours {
		e.LinkLocal, err = s.linkLocals(pod)
	}
	return e, err
}

// leadsTo reports whether the pod's link is the other end of the node's. That each names
// the other's index may be chance: indexes are of a namespace each. What the node calls
// that of the other end, the kernel has told with the link.
func (h *Host) leadsTo(host, pod Link, s *Sandbox) (bool, error) {
	if !pair(host, pod) || host.peerNamespace < 0 {
		return false, nil
	}
	id, err := h.conn.namespaceID(s)
	return id == host.peerNamespace, err
}

// namespaceID is what this namespace calls that of the sandbox; -1: nothing yet.
func (c *conn) namespaceID(s *Sandbox) (int, error) {
	data, err := c.Query(nlsock.Request{
		What: "look up network namespace " + s.path, Type: unix.RTM_GETNSID,
		Body: []nl.NetlinkRequestData{nl.NewRtGenMsg(), nl.NewRtAttr(unix.NETNSA_FD, nl.Uint32Attr(uint32(s.fd)))},
	})
	if err != nil {
		return -1, err
	}
	for typ, value := range nlsock.Attributes(data[min(len(data), nl.NewRtGenMsg().Len()):]) {
		if typ == unix.NETNSA_NSID {
			return int(int32(nlsock.Uint32(value))), nil
		}
	}
	return -1, nil
}

// findBridge learns which bridge the end is in, if any. Whatever else it is in has
// its own way with packets.
func (h *Host) findBridge(e *End, host Link) error {
	if host.Master == 0 {
		return nil
	}
	master, found, err := h.LinkAt(host.Master)
	if err != nil {
		return err
	}
	if !found || master.Kind != "bridge" {
		return fmt.Errorf("link %s of the node is in %q, which is of the kind %q and no bridge: %w", host.Name, master.Name, master.Kind, ErrUnfiltered)
	}
	e.Device, e.bridge = master.Name, &master
	return nil
}

// linkLocals are the addresses that End.LinkLocal speaks of.
func (s *Sandbox) linkLocals(pod Link) ([]netip.Addr, error) {
	var off string
	err := s.Do(func() (err error) {
		off, err = nodeSysctls.read("ipv6/conf/" + pod.Name + "/disable_ipv6")
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || err == nil && off != "0" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := []netip.Addr{AddrOfMAC(pod.MAC)}
	have, err := s.conn.addresses(pod.Index)
	if err != nil {
		return nil, err
	}
	for _, a := range have {
		if a := a.Prefix.Addr(); a.Is6() && a.IsLinkLocalUnicast() && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list, nil
}

// Filtered tells whether packets of the families between the end and others in the
// same bridge come to the packet filter. Behind a bridge they do when br_netfilter is
// told so for the namespace or for this bridge; else errors.Is(err, ErrUnfiltered).
func (e End) Filtered(ipv4, ipv6 bool) error {
	if e.bridge == nil {
		return nil
	}
	for _, f := range []struct {
		needed   bool
		sysctl   string
		ofBridge bool
	}{
		{ipv4, "bridge/bridge-nf-call-iptables", e.bridge.callsIPTables},
		{ipv6, "bridge/bridge-nf-call-ip6tables", e.bridge.callsIP6Tables},
	} {
		if !f.needed {
			continue
		}
		value, err := nodeSysctls.read(f.sysctl)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("bridge %s: net/%s does not exist, the module br_netfilter is not loaded: %w", e.Device, f.sysctl, ErrUnfiltered)
		case err != nil:
			return err
		case value == "0" && !f.ofBridge:
			return fmt.Errorf("bridge %s: sysctl net/%s is 0 and has to be 1: %w", e.Device, f.sysctl, ErrUnfiltered)
		}
	}
	return nil
}

// LinkAt returns the node's link with the index, or false.
func (h *Host) LinkAt(index int) (Link, bool, error) {
	if index <= 0 {
		return Link{}, false, nil
	}
	l, err := h.conn.linkByIndex(index)
	if errors.Is(err, unix.ENODEV) {
		return Link{}, false, nil
	}
	return l, err == nil, err
}

// Sever takes the node's end of a pair down: from then on its pod sends and receives
// nothing. An index is never used twice, so that whoever renamed the link did not save
// it. No such link is success.
func (h *Host) Sever(index int) error {
	l, found, err := h.LinkAt(index)
	if err != nil || !found || l.Kind != "veth" {
		return err
	}
	return h.conn.Do(downMessage(l.Name, index))
}

// setBridge reads whether a bridge calls the packet filter by itself.
func (l *Link) setBridge(data []byte) {
	for typ, value := range nlsock.Attributes(data) {
		switch on := len(value) > 0 && value[0] != 0; typ {
		case unix.IFLA_BR_NF_CALL_IPTABLES:
			l.callsIPTables = on
		case unix.IFLA_BR_NF_CALL_IP6TABLES:
			l.callsIP6Tables = on
		}
	}
}
