package main

import (
	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/collect"
)

func (a *app) gcCommand() *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove what pods that are gone left behind",
		Long: "Remove the attachments whose network namespace is gone, host veths that nobody uses, and the\n" +
			"packet filter rules and routes of networks without any lease. What is or may be alive is kept.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.gc(dryRun) },
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	return c
}

func (a *app) gc(dryRun bool) error {
	node, err := openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	report, failed := collect.Dead(node.Node, collect.Options{StateDir: a.stateDir, CNIPath: a.cniPath, DryRun: dryRun})
	if err := a.printCollected(report, failed != nil); err != nil {
		return err
	}
	return failed
}

func (a *app) printCollected(r collect.Report, failed bool) error {
	if a.json() {
		return a.printJSON(r)
	}
	removed := "removed"
	if r.DryRun {
		removed = "would remove"
	}
	for _, e := range r.Removed {
		if err := a.printf("%s %s\n", removed, e); err != nil {
			return err
		}
	}
	for _, e := range r.Kept {
		if err := a.printf("kept %s\n", e); err != nil {
			return err
		}
	}
	if len(r.Removed) == 0 && !failed {
		return a.printNothing("leftovers to remove")
	}
	return nil
}
