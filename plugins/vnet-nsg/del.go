package main

import (
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// del ends the judgement of a pod: CNI spec section "DEL". The main plugin's DEL comes
// after this one, so that the pod may still run: it is cut off first. Neither
// prevResult nor the pod's namespace nor a configuration that still matches is
// needed, and what is gone already is success.
func del(cmd *skel.CmdArgs) error {
	c, err := verb.ReadLenient(netconf.VNetNSG, cmd)
	if err != nil {
		return err
	}
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	lease, found, err := storeOf(c.Conf).Get(c.Key)
	if err != nil {
		return cnierr.OfStore(err)
	}
	if !found {
		return forget(node, c)
	}
	return detach(node, c.Conf, lease)
}

// detach ends what a record tells of.
func detach(node *attachment.Node, c *netconf.Conf, l ipam.Lease) error {
	record, ours, err := attachment.Of(l)
	if err != nil || !ours { // an unreadable record must not keep the pod for ever
		record = attachment.LostRecord(judged(c), l.Key)
	}
	return node.Remove(c.StateDir, judged(c), l.Key, record, attachment.Addrs(l), func() error {
		_, _, err := storeOf(c).Release(l.Key)
		return cnierr.OfStore(err)
	})
}

// forget ends the judgement of a pod that nobody has a record of, by what the main
// plugin's result and the pod's namespace tell, as far as they are there.
func forget(node *attachment.Node, c *verb.Call) error {
	p, ends := lostPod(node.Host, c)
	members, err := node.Firewall.Members(judged(c.Conf))
	if err != nil {
		return attachment.OfFirewall(err)
	}
	for _, a := range p.addrs {
		if !slices.Contains(members, a) {
			continue
		}
		holder, held, err := storeOf(c.Conf).Holder(a)
		if err != nil {
			return cnierr.OfStore(err)
		}
		if held && !attachment.IsLost(holder.Key) {
			continue // a later pod's
		}
		l := ipam.Lease{Key: c.Key, Addresses: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}
		if held {
			l.Key = holder.Key
		}
		record := attachment.LostRecord(judged(c.Conf), l.Key)
		record.Ends = ends
		if l.Attachment, err = record.Encode(); err != nil {
			return cnierr.Wrap(cnierr.Store, err)
		}
		if err := detach(node, c.Conf, l); err != nil {
			return err
		}
	}
	return nil
}

// lostPod is the pod as far as anybody can tell: nothing of it may be there.
func lostPod(h *link.Host, c *verb.Call) (pod, []attachment.End) {
	if c.Conf.PrevResult == nil {
		return pod{}, nil
	}
	p, err := podOf(c.Conf.PrevResult, c.Key.IfName)
	if err != nil {
		return pod{}, nil
	}
	for _, i := range c.Conf.PrevResult.Interfaces {
		if mac, err := net.ParseMAC(i.Mac); err == nil && len(mac) == 6 && i.Sandbox != "" {
			p.addrs = append(p.addrs, link.AddrOfMAC(mac)) // which find tells only while the pod is there
		}
	}
	sandbox, err := link.OpenSandbox(c.Netns)
	if err != nil {
		return p, nil
	}
	defer sandbox.Close()
	_ = p.find(h, sandbox) // as far as it is there
	var ends []attachment.End
	for _, e := range p.ends {
		ends = append(ends, attachment.EndOf(e))
	}
	return p, ends
}
