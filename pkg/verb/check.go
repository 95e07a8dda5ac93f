package verb

import (
	"strings"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// Check compares an attachment's record with prevResult, as resultProblems does, and with
// the kernel, and changes nothing: CNI spec section "CHECK". network is the name that the
// record is kept under. resultProblems may take over into the record what later plugins
// of the chain changed.
func (c *Call) Check(network string, resultProblems func(ipam.Lease, *attachment.Record) ([]string, error)) error {
	if c.Conf.PrevResult == nil {
		return cnierr.Errorf(cnierr.Config, "prevResult: CHECK needs the result of ADD")
	}
	lease, record, err := c.recorded(network)
	if err != nil {
		return err
	}
	sandbox, err := link.OpenSandbox(c.Netns) // a bad CNI_NETNS is not a damaged attachment
	if err != nil {
		return cnierr.Wrap(cnierr.Sandbox, err)
	}
	sandbox.Close()
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	record.Sandbox = c.Netns
	problems, err := resultProblems(lease, &record)
	if err != nil {
		return err
	}
	more, err := node.Problems(c.Conf.StateDir, network, lease, record)
	if err != nil {
		return err
	}
	if problems = append(problems, more...); len(problems) > 0 {
		return cnierr.Errorf(cnierr.Check, "%s", strings.Join(problems, "; "))
	}
	return nil
}

// recorded is the attachment as ADD recorded it.
func (c *Call) recorded(network string) (ipam.Lease, attachment.Record, error) {
	lease, found, err := attachment.Store(c.Conf.StateDir, network).Get(c.Key)
	if err != nil {
		return lease, attachment.Record{}, cnierr.OfStore(err)
	}
	record, ours, err := attachment.Of(lease)
	if err == nil && (!found || !ours) {
		err = cnierr.Errorf(cnierr.Check, "network %s has no record of container %s, interface %s", network, c.Key.ContainerID, c.Key.IfName)
	}
	return lease, record, cnierr.Wrap(cnierr.Store, err)
}
