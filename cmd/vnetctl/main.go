// Command vnetctl shows people what the CNI plugins keep on a node, and puts
// right what a crash or a mistake left behind.
//
// It knows the state directory, the records in the leases and the kernel in the
// current network namespace. It must not know a network configuration: a node
// whose configuration is broken or gone is where it is needed most.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/cnimain"
)

// What the process ends with.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, time.Now)) }

// app is what every command shares.
type app struct {
	stateDir string
	cniPath  string
	output   string
	out      io.Writer
	errs     io.Writer // for what is no result
	now      func() time.Time
	running  bool // the command line was understood
	noted    []string
}

// errReported is a failure that the command's own output has told of.
var errReported = errors.New("reported")

// usageError is a command line that cannot be meant, found out while it ran.
type usageError struct{ error }

// run executes a command line and returns the process's exit status.
func run(args []string, stdout, stderr io.Writer, now func() time.Time) int {
	a := &app{out: stdout, errs: stderr, now: now}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	refuseUnknownShells(root)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintf(stderr, "vnetctl: %v\n", a.explained(err))
	}
	if !a.running || errors.As(err, &usageError{}) {
		return exitUsage
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vnetctl",
		Short: "Show and repair what the vnet CNI plugins keep on this node",
		Long: "vnetctl reads the lease stores in the state directory and the kernel in the current network\n" +
			"namespace, which needs root but no network configuration; and it judges flows by the network\n" +
			"security groups of documents, which needs neither.",
		Version:           cnimain.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: a.begin,
		Args:              cobra.NoArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&a.stateDir, "state-dir", "/run/vnet", "directory of the lease stores, the plugins' stateDir")
	flags.StringVar(&a.cniPath, "cni-path", "/opt/cni/bin", "directories of the CNI plugins, for addresses of another IPAM plugin")
	flags.StringVarP(&a.output, "output", "o", "table", "table or json")
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	must(root.MarkPersistentFlagDirname("state-dir"))
	root.AddCommand(a.ipamCommand(), a.podsCommand(), a.statusCommand(), a.gcCommand(),
		a.validateCommand(), a.diffCommand(), a.testIPFlowCommand(), a.assertCommand(), a.reachCommand(), a.effectiveCommand(), a.nextHopCommand(),
		a.countersCommand(), a.applyCommand())
	return root
}

// refuseUnknownShells makes `completion zhs` an error: by itself cobra prints help instead of
// a script and succeeds. The script goes where the root's output goes by now.
func refuseUnknownShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	must(err)
	completion.Args = cobra.NoArgs
	completion.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// must is for registrations that only a mistake in this program makes fail.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "vnetctl:", err)
		os.Exit(exitFailed)
	}
}

// begin checks what all commands take. Errors before it, and its own, are of usage.
func (a *app) begin(*cobra.Command, []string) error {
	if a.output != "table" && a.output != "json" {
		return fmt.Errorf("--output %q: it must be table or json", a.output)
	}
	if a.stateDir == "" {
		return fmt.Errorf("--state-dir %q: it must be a folder", a.stateDir)
	}
	a.running = true
	return nil
}

// explained says what an error of the kernel or the file system means to
// somebody who forgot sudo.
func (a *app) explained(err error) error {
	if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (reading the leases in %s, and the node's links and packet filter, needs root)", err, a.stateDir)
	}
	return err
}
