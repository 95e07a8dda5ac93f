package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Sysctls is the folder where the kernel shows the sysctls under net: those of the
// namespace that the reading thread is in, wherever it is mounted.
type Sysctls string

// nodeSysctls is the usual place. A container may have it read-only, and the same
// at another path to write to.
const nodeSysctls Sysctls = "/proc/sys/net"

// read returns the value of, for example, "ipv4/ip_forward".
func (s Sysctls) read(key string) (string, error) {
	fd, err := unix.Open(string(s)+"/"+key, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("read sysctl net/%s: %w", key, err)
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", fmt.Errorf("read sysctl net/%s: %w", key, err)
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// write sets the value. Plain system calls: package os would register each
// of these files with the poller, twice the calls for nothing.
func (s Sysctls) write(key, value string) error {
	fd, err := unix.Open(string(s)+"/"+key, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set sysctl net/%s=%s: %w", key, value, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return fmt.Errorf("set sysctl net/%s=%s: %w", key, value, err)
	}
	return nil
}

// ensure writes only when the value differs: /proc/sys may be mounted
// read-only once an administrator has set everything.
func (s Sysctls) ensure(key, value string) error {
	have, err := s.read(key)
	if err != nil || have == value {
		return err
	}
	return s.write(key, value)
}

// writeOptional is write for a key that a kernel may lack, because IPv6
// is built without it or switched off at boot.
func (s Sysctls) writeOptional(key, value string) error {
	err := s.write(key, value)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// PrepareNode turns on what routing for pods needs on the node, in the families
// asked for. uplink is "" in a mode that answers for no address there.
func PrepareNode(uplink string, ipv4, ipv6 bool) error {
	return nodeSysctls.PrepareNode(uplink, ipv4, ipv6)
}

// PrepareNode is the function of that name through another mount of the sysctls.
func (s Sysctls) PrepareNode(uplink string, ipv4, ipv6 bool) error {
	var steps [][2]string
	if ipv4 {
		steps = append(steps, [2]string{"ipv4/ip_forward", "1"})
		// A node redirects a pod that reaches itself through a service unless
		// both "all" and the interface say no.
		steps = append(steps, [2]string{"ipv4/conf/all/send_redirects", "0"})
		if uplink != "" {
			// The default delays the answer for a proxied address by up to 0.8 s.
			steps = append(steps, [2]string{"ipv4/neigh/" + uplink + "/proxy_delay", "0"})
		}
	}
	if ipv6 && uplink != "" {
		steps = append(steps,
			[2]string{"ipv6/conf/" + uplink + "/proxy_ndp", "1"},
			[2]string{"ipv6/neigh/" + uplink + "/proxy_delay", "0"})
	}
	for _, step := range steps {
		if err := s.ensure(step[0], step[1]); err != nil {
			return err
		}
	}
	if ipv6 {
		return s.forwardIPv6()
	}
	return nil
}

// forwardingProblems tells which families of the addresses the node does not forward:
// whoever loads the node's sysctl files again can switch it off after ADD.
func (s Sysctls) forwardingProblems(addrs []netip.Addr) ([]string, error) {
	var found []string
	for _, family := range []struct {
		name, key string
		has       bool
	}{
		{"IPv4", "ipv4/ip_forward", slices.ContainsFunc(addrs, netip.Addr.Is4)},
		{"IPv6", "ipv6/conf/all/forwarding", slices.ContainsFunc(addrs, netip.Addr.Is6)},
	} {
		if !family.has {
			continue
		}
		value, err := s.read(family.key)
		if err != nil {
			return nil, err
		}
		if value == "0" {
			found = append(found, fmt.Sprintf("the node does not forward %s: sysctl net/%s is 0", family.name, family.key))
		}
	}
	return found, nil
}

// forwardIPv6 turns forwarding on. A forwarding interface ignores router
// advertisements unless accept_ra is 2, and the switch drops the default routes
// learnt so far at once (addrconf_forward_change, rt6_purge_dflt_routers), so
// that every interface that accepts them today goes to 2 first.
func (s Sysctls) forwardIPv6() error {
	have, err := s.read("ipv6/conf/all/forwarding")
	if err != nil || have == "1" {
		return err
	}
	entries, err := os.ReadDir(string(s) + "/ipv6/conf")
	if err != nil {
		return fmt.Errorf("list the interfaces' IPv6 sysctls: %w", err)
	}
	for _, e := range entries {
		if err := s.keepAdvertisements(e.Name()); err != nil {
			return err
		}
	}
	return s.write("ipv6/conf/all/forwarding", "1")
}

func (s Sysctls) keepAdvertisements(name string) error {
	// "all" and "default" belong to the administrator; our own veths accept none.
	if name == "all" || name == "default" || strings.HasPrefix(name, VethPrefix) {
		return nil
	}
	key := "ipv6/conf/" + name + "/accept_ra"
	have, err := s.read(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the interface went meanwhile
	}
	if err != nil || have != "1" {
		return err
	}
	return s.writeOptional(key, "2")
}

// quietVeth keeps the node from believing more of a pod's IPv6 than routes say: it
// takes no router advertisement or redirect from it. Without IPv6 it hears nothing.
func quietVeth(name string, ipv6 bool) error {
	if !ipv6 {
		return nodeSysctls.writeOptional("ipv6/conf/"+name+"/disable_ipv6", "1")
	}
	for _, s := range [][2]string{
		{"accept_ra", "0"},
		{"accept_redirects", "0"},
		{"disable_ipv6", "0"}, // some distributions switch IPv6 off for new interfaces
	} {
		if err := nodeSysctls.writeOptional("ipv6/conf/"+name+"/"+s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}
