package verb

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// Collect reads GC's list and opens the node for whatever lets go of the attachments
// that are not on it: CNI spec section "GC". Without the list it knows nothing and
// touches nothing. The call is of no attachment.
func Collect(p netconf.Plugin, cmd *skel.CmdArgs, letGo func(*attachment.Node, *Call) error) error {
	conf, err := netconf.ParseLenient(p, cmd.StdinData)
	if err != nil || !conf.HasValidAttachments {
		return err
	}
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	return letGo(node, &Call{Path: cmd.Path, Conf: conf, Stdin: cmd.StdinData})
}

// Release detaches whatever has the leases. One that stays does not keep the others.
func Release(leases []ipam.Lease, detach func(ipam.Lease) error) error {
	var errs []error
	for _, l := range leases {
		if err := detach(l); err != nil {
			errs = append(errs, fmt.Errorf("release container %s, interface %s: %w", l.ContainerID, l.IfName, err))
		}
	}
	return errors.Join(errs...)
}
