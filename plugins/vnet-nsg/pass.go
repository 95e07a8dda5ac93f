package main

import (
	"os"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// pass prints the main plugin's result as this plugin's.
func (a *addition) pass() error {
	if err := printPrevious(a.Conf); err != nil {
		return cnierr.Errorf(cnierr.IO, "write the result: %w", err)
	}
	return nil
}

// printPrevious prints prevResult as it came, with what nobody here knows. Only one of
// another version of the specification than the runtime asked for is converted.
func printPrevious(c *netconf.Conf) error {
	if c.PrevVersion != c.CNIVersion {
		return types.PrintResult(c.PrevResult, c.CNIVersion)
	}
	_, err := os.Stdout.Write(append(c.PrevDocument, '\n'))
	return err
}
