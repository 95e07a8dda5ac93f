// Command vnet is the CNI main plugin: it gives a pod an address of the VNet's
// subnet and connects it to its node by a veth pair and routes.
//
// Each verb is a file that reads as the list of its steps; how a step is done is
// in the packages.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/pkg/cnimain"
	_ "github.com/vnet-cni/vnet-cni/pkg/lean"
	_ "github.com/vnet-cni/vnet-cni/pkg/sysmon"
	"github.com/vnet-cni/vnet-cni/pkg/tally"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

func main() {
	cnimain.Run("vnet", skel.CNIFuncs{
		Add:    verb.Counted(tally.Add, verb.AsIs, add),
		Del:    verb.Counted(tally.Del, verb.AsIs, del),
		Check:  verb.Counted(tally.Check, verb.AsIs, check),
		Status: verb.Counted(tally.Status, verb.AsIs, status),
		GC:     verb.Counted(tally.GC, verb.AsIs, gc),
	})
}
