// Command vnet-agent keeps one node of a Kubernetes cluster: it installs the plugins
// and their configuration, brings packets to the other nodes, and puts the cluster's
// network security groups in force. It runs on each node, as a DaemonSet.
//
//	vnet-agent run       keep the node
//	vnet-agent remove    take everything of vnet-cni off the node, and wait
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/agent"
	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/cri"
	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/cnimain"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vnet-agent:", err)
		os.Exit(1)
	}
}

// options are the flags: places on the node, which differ from one distribution to
// the other. What people decide about the network is in the configuration.
type options struct {
	paths                       agent.Paths
	node, namespace, kubeconfig string
	listen, runtime             string
	every, grace                time.Duration
}

func parse(args []string) (options, string, error) {
	var o options
	f := flag.NewFlagSet("vnet-agent", flag.ContinueOnError)
	f.StringVar(&o.paths.Config, "config", "/etc/vnet-agent/config.yaml", "the agent's configuration `file`")
	f.StringVar(&o.paths.Source, "source", "/opt/vnet-cni/bin", "`folder` with the plugins to install")
	f.StringVar(&o.paths.Binaries, "bin-dir", "/opt/cni/bin", "the runtime's `folder` for plugins")
	f.StringVar(&o.paths.Conflist, "conf-dir", "/etc/cni/net.d", "the runtime's `folder` for network configurations")
	f.StringVar(&o.paths.State, "state-dir", "/run/vnet", "the plugins' `folder` for state")
	f.StringVar(&o.paths.Data, "data-dir", "/var/lib/vnet", "`folder` for documents")
	f.StringVar(&o.paths.Sysctls, "sysctl-dir", "/host/proc/sys/net", "where the node's /proc/sys/net is mounted")
	f.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "`name` of this node")
	f.StringVar(&o.namespace, "namespace", os.Getenv("NAMESPACE"), "the agent's own `namespace`")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` to reach the API server with, outside a cluster")
	f.StringVar(&o.listen, "listen", ":9469", "`address` for health and metrics")
	f.StringVar(&o.runtime, "runtime", "/run/containerd/containerd.sock", "the runtime's `socket`")
	f.DurationVar(&o.every, "every", 5*time.Second, "how often to look at what nobody tells of")
	f.DurationVar(&o.grace, "grace", 5*time.Minute, "how long an attachment may be of a container that the runtime does not know")
	if len(args) == 0 {
		return o, "", errors.New("say what to do: run, remove or --version")
	}
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: vnet-agent run|remove [flags]\n       vnet-agent --version")
		f.PrintDefaults()
	}
	switch args[0] {
	case "--version":
		return o, args[0], nil
	case "run", "remove":
	case "-h", "-help", "--help", "help":
		f.SetOutput(os.Stdout)
		f.Usage()
		return o, "", flag.ErrHelp
	default:
		return o, "", fmt.Errorf("unknown command %q: run, remove or --version", args[0])
	}
	if err := f.Parse(args[1:]); err != nil {
		return o, "", err
	}
	switch {
	case f.NArg() > 0:
		return o, "", fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.node == "":
		return o, "", errors.New("--node: this node's name is required (or NODE_NAME in the environment)")
	case o.namespace == "":
		return o, "", errors.New("--namespace: the agent's namespace is required (or NAMESPACE in the environment)")
	case o.every <= 0:
		return o, "", fmt.Errorf("--every: %s is no time between two looks", o.every)
	case o.grace <= 0:
		return o, "", fmt.Errorf("--grace: %s leaves a container that is being made no time", o.grace)
	}
	return o, args[0], nil
}

func run() error {
	o, verb, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if verb == "--version" {
		fmt.Println("vnet-agent", cnimain.Version)
		return nil
	}
	return keep(ctx, o, verb == "remove")
}

// keep runs the agent until it is told to end. An agent that has removed everything
// waits, for a DaemonSet starts again what ends.
func keep(ctx context.Context, o options, remove bool) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("node", o.node)
	klog.SetSlogLogger(log) // for what client-go says without a context
	a := agent.New(o.node, o.paths, log, o.every, o.grace)
	serving := make(chan error, 1)
	go func() { serving <- a.Serve(ctx, o.listen) }()
	cluster, err := kube.Start(ctx, kube.Options{
		Kubeconfig: o.kubeconfig, Node: o.node, Namespace: o.namespace, Log: log, Changed: a.Changed,
	})
	if err != nil {
		return err
	}
	a.Cluster, a.Runtime = cluster, cri.New(o.runtime)
	log.Info("started", "version", cnimain.Version)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if remove {
			a.RunRemoval(ctx)
		} else {
			a.Run(ctx)
		}
	}()
	select {
	case err := <-serving:
		return err
	case <-done:
		return nil
	}
}
