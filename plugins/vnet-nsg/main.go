// Command vnet-nsg is a CNI plugin that stands behind a main plugin, whichever it is,
// and puts the pods that it attached under Azure's network security groups.
//
// Each verb is a file that reads as the list of its steps; how a step is done is
// in the packages.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnimain"
	_ "github.com/vnet-cni/vnet-cni/pkg/lean"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/network"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	_ "github.com/vnet-cni/vnet-cni/pkg/sysmon"
	"github.com/vnet-cni/vnet-cni/pkg/tally"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

func main() {
	cnimain.Run("vnet-nsg", skel.CNIFuncs{
		Add:    verb.Counted(tally.Add, attachment.Chained, add),
		Del:    verb.Counted(tally.Del, attachment.Chained, del),
		Check:  verb.Counted(tally.Check, attachment.Chained, check),
		Status: verb.Counted(tally.Status, attachment.Chained, status),
		GC:     verb.Counted(tally.GC, attachment.Chained, gc),
	})
}

// judged is the name under which the pods of a configuration's network are kept.
func judged(c *netconf.Conf) string { return attachment.Chained(c.Name) }

func storeOf(c *netconf.Conf) *ipam.Store { return attachment.Store(c.StateDir, judged(c)) }

// groupsOf is what the configuration makes of its documents. Of the pods' subnets and
// the node's uplink it knows nothing: it names the virtual network itself.
func groupsOf(c *netconf.Conf) policy.Config { return network.Groups(c, link.Uplink{}) }
