package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// documentFlags are the flags of every command that reads documents: what templates
// among them are deployed with.
type documentFlags struct {
	parameters                  []string
	subscription, resourceGroup string
}

const (
	flagParameters    = "parameters"
	flagSubscription  = "subscription"
	flagResourceGroup = "resource-group"
)

func (d *documentFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&d.parameters, flagParameters, nil, "parameter `FILE` of the templates among the documents (repeatable: the later one's values count)")
	f.StringVar(&d.subscription, flagSubscription, "", "`id` of the subscription that templates are deployed to (default: a placeholder of zeros)")
	f.StringVarP(&d.resourceGroup, flagResourceGroup, "g", "", "`name` of the resource group that templates are deployed to (default: a placeholder)")
	for _, name := range []string{flagSubscription, flagResourceGroup} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
}

// names are the flags, for commands that cannot take them beside others.
func (d *documentFlags) names() []string {
	return []string{flagParameters, flagSubscription, flagResourceGroup}
}

// check finds mistakes that need no look at anything.
func (d *documentFlags) check() error {
	if slices.Contains(d.parameters, "") {
		return usageError{fmt.Errorf("--%s %q: it must be a file", flagParameters, "")}
	}
	for _, f := range []struct{ name, value string }{{flagSubscription, d.subscription}, {flagResourceGroup, d.resourceGroup}} {
		if strings.Contains(f.value, "/") {
			return usageError{fmt.Errorf("--%s %s: it must be a name without a slash", f.name, quoted(f.value))}
		}
	}
	return nil
}

// deployment is what the flags say.
func (d *documentFlags) deployment() arm.Deployment {
	return arm.Deployment{Parameters: d.parameters, Subscription: d.subscription, ResourceGroup: d.resourceGroup}
}

// load reads documents.
func (d *documentFlags) load(paths []string) *arm.Documents {
	return arm.LoadWith(paths, d.deployment())
}

// whole reads documents of which none may be broken. An error names the flag of the first
// file that is.
func (d *documentFlags) whole(a *app, paths []string) (*arm.Documents, error) {
	docs, err := a.whole(d.load(paths))
	if err == nil {
		return docs, nil
	}
	flag := flagDocuments
	first := slices.IndexFunc(docs.Findings, func(f nsg.Finding) bool { return f.Severity == nsg.Error })
	if slices.Contains(d.parameters, docs.Findings[first].File) {
		flag = flagParameters
	}
	return nil, fmt.Errorf("--%s: %w", flag, err)
}
