// Command vnet-ipam is the CNI IPAM plugin over package ipam, for any main
// plugin. It reads the network's name, stateDir and ipam, ignores the main
// plugin's other keys, and never opens the pod's namespace.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/cnimain"
	_ "github.com/vnet-cni/vnet-cni/pkg/lean"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	_ "github.com/vnet-cni/vnet-cni/pkg/sysmon"
)

func main() {
	cnimain.Run("vnet-ipam", skel.CNIFuncs{Add: add, Del: del, Check: check, Status: status, GC: gc})
}

// add leases one address from each pool: CNI spec section "ADD". Made again for
// the same container and interface it answers with the same lease.
func add(cmd *skel.CmdArgs) error {
	conf, err := readStrict(cmd)
	if err != nil {
		return err
	}
	args, err := netconf.ParseArgs(cmd.Args)
	if err != nil {
		return err
	}
	lease, created, err := store(conf).Acquire(ipam.Request{
		Key: key(cmd), Pools: conf.IPAM.Pools, Fixed: conf.RequestedIPs(args), Cooldown: conf.IPAM.Cooldown,
	})
	if err != nil {
		return cnierr.OfStore(err)
	}
	if err := cnimain.PrintResult(os.Stdout, result(conf, lease), conf.CNIVersion); err != nil {
		err = cnierr.Errorf(cnierr.IO, "write the result: %w", err)
		if created {
			_, _, undone := store(conf).Release(lease.Key)
			return errors.Join(err, undone)
		}
		return err
	}
	return nil
}

// del releases the lease; one that is gone already is success.
func del(cmd *skel.CmdArgs) error {
	conf, err := netconf.ParseLenient(netconf.VNetIPAM, cmd.StdinData)
	if err != nil {
		return err
	}
	if err := netconf.ValidateAttachment(cmd.ContainerID, cmd.IfName); err != nil {
		return err
	}
	_, _, err = store(conf).Release(key(cmd))
	return cnierr.OfStore(err)
}

// check tells whether the lease is there, with the addresses that prevResult
// says. It changes nothing.
func check(cmd *skel.CmdArgs) error {
	conf, err := readStrict(cmd)
	if err != nil {
		return err
	}
	lease, found, err := store(conf).Get(key(cmd))
	if err != nil {
		return cnierr.OfStore(err)
	}
	if !found {
		return cnierr.Errorf(cnierr.Check, "network %s has no lease for container %s, interface %s", conf.Name, cmd.ContainerID, cmd.IfName)
	}
	if conf.PrevResult == nil {
		return nil
	}
	for _, p := range lease.Addresses {
		if !conf.PrevResultHas(p.Addr()) {
			return cnierr.Errorf(cnierr.Check, "prevResult lacks the leased address %s", p.Addr())
		}
	}
	return nil
}

// status tells whether the store can be used at all. A full pool is no fault of
// the node's.
func status(cmd *skel.CmdArgs) error {
	conf, err := netconf.ParseStrict(netconf.VNetIPAM, cmd.StdinData)
	if err != nil {
		return err
	}
	if err := store(conf).Check(); err != nil {
		return cnierr.Errorf(cnierr.Unavailable, "%w", err)
	}
	return nil
}

// gc releases the leases of the network that the runtime does not list. Without
// the list it knows nothing and touches nothing.
func gc(cmd *skel.CmdArgs) error {
	conf, err := netconf.ParseLenient(netconf.VNetIPAM, cmd.StdinData)
	if err != nil {
		return err
	}
	if !conf.HasValidAttachments {
		return nil
	}
	valid := map[ipam.Key]bool{}
	for _, a := range conf.ValidAttachments {
		valid[ipam.Key{ContainerID: a.ContainerID, IfName: a.IfName}] = true
	}
	leases, err := store(conf).Leases()
	if err != nil {
		return cnierr.OfStore(err)
	}
	var errs []error
	for _, l := range leases {
		// A lease with an attachment is a main plugin's, which has links to remove first.
		if valid[l.Key] || len(l.Attachment) > 0 {
			continue
		}
		if _, _, err := store(conf).Release(l.Key); err != nil {
			errs = append(errs, fmt.Errorf("release container %s, interface %s: %w", l.ContainerID, l.IfName, err))
		}
	}
	return cnierr.OfStore(errors.Join(errs...))
}

func readStrict(cmd *skel.CmdArgs) (*netconf.Conf, error) {
	conf, err := netconf.ParseStrict(netconf.VNetIPAM, cmd.StdinData)
	if err != nil {
		return nil, err
	}
	return conf, netconf.ValidateAttachment(cmd.ContainerID, cmd.IfName)
}

func key(cmd *skel.CmdArgs) ipam.Key {
	return ipam.Key{ContainerID: cmd.ContainerID, IfName: cmd.IfName}
}

// store has nothing to be rebuilt from: under another main plugin the kernel
// does not show whose an address is.
func store(conf *netconf.Conf) *ipam.Store {
	return ipam.New(ipam.Options{Dir: conf.StateDir, Network: conf.Name})
}

// result gives each address with its subnet's length and gateway.
func result(conf *netconf.Conf, lease ipam.Lease) *types100.Result {
	r := &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Routes: conf.IPAM.Routes}
	for _, p := range lease.Addresses {
		gateway := ipam.Pool{Subnet: p.Masked()}.Gateway()
		r.IPs = append(r.IPs, &types100.IPConfig{
			Address: net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
			Gateway: gateway.AsSlice(),
		})
	}
	return r
}
