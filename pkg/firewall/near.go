package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// typeOf is the type of a set that pods are members of.
func typeOf(set string, f family) string {
	if set == nearSet(f) {
		return hashNetIface
	}
	return hashIP
}

// nearAdditions are the requests that add an address of a pod with its devices; none
// for a pod of ours, whose interface tells.
func (f *Firewall) nearAdditions(p Pod, a netip.Addr) []nlsock.Request {
	var requests []nlsock.Request
	for _, d := range p.Devices {
		requests = append(requests, f.sets.device("add", nl.IPSET_CMD_ADD, nearSet(familyOf(a)), a, d))
	}
	return requests
}

// Displace is for a foreign pod that goes on behind other devices: its addresses do not
// belong to those that it has here any more. AddPod has to follow.
func (f *Firewall) Displace(p Pod) error {
	var errs []error
	for _, a := range p.Addrs {
		errs = append(errs, f.removeNear(p, a.Unmap()))
	}
	return errors.Join(errs...)
}

// removeNear takes an address of a pod out with its devices, or with whatever device
// it is there when the pod's are not known for sure.
func (f *Firewall) removeNear(p Pod, a netip.Addr) error {
	if !p.Foreign {
		return nil
	}
	set := nearSet(familyOf(a))
	devices := p.Devices
	if p.Lost || len(devices) == 0 {
		var err error
		if devices, err = f.sets.devices(set, a); err != nil {
			return unlessNoSuchSet(err)
		}
	}
	var requests []nlsock.Request
	for _, d := range devices {
		r := f.sets.device("remove", nl.IPSET_CMD_DEL, set, a, d)
		r.Ignore = []syscall.Errno{unix.ENOENT}
		requests = append(requests, r)
	}
	return unlessNoIPSet(f.sets.do(requests))
}

// near reports whether an address is in the set with the device.
func (f *Firewall) near(a netip.Addr, device string) (bool, error) {
	err := f.sets.do([]nlsock.Request{f.sets.device("look for", nl.IPSET_CMD_TEST, nearSet(familyOf(a)), a, device)})
	if errors.Is(err, nl.IPSetError(nl.IPSET_ERR_EXIST)) || noSuchSet(err) {
		return false, nil
	}
	return err == nil, err
}

// device is an ADD, DEL or TEST of an address with a device.
func (s *sets) device(verb string, cmd int, set string, a netip.Addr, device string) nlsock.Request {
	data := memberData(single(a))
	data.AddRtAttr(nl.IPSET_ATTR_IFACE, nl.ZeroTerminated(device))
	return s.request(fmt.Sprintf("%s %s on %s in ipset %s", verb, a, device, set), cmd, set, data)
}

// devices lists the devices with which an address is in the set.
func (s *sets) devices(set string, a netip.Addr) ([]string, error) {
	var found []string
	err := s.entries(set, func(entry []byte) {
		if at, ok := parseMember(entry); !ok || at != a {
			return
		}
		for typ, value := range nlsock.Attributes(entry) {
			if typ == nl.IPSET_ATTR_IFACE {
				found = append(found, unix.ByteSliceToString(value))
			}
		}
	})
	return found, err
}
