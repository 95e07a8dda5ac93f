package main

import "github.com/containernetworking/cni/pkg/skel"

// add attaches a pod: CNI spec section "ADD". Made again for the same container
// and interface it completes or repairs the attachment with the same lease.
func add(cmd *skel.CmdArgs) (err error) {
	c, err := readStrict(cmd)
	if err != nil {
		return err
	}
	attempt, err := c.Begin()
	if err != nil {
		return err
	}
	defer attempt.End(&err)
	a := &addition{call: c, Attempt: attempt}
	return a.Take(
		a.findUplink,
		a.chooseGroups,
		a.lease,
		a.filter,
		a.route,
		a.connect,
		a.configurePod,
		a.configureHost,
		a.answer,
		a.print,
	)
}
