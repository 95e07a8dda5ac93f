package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// flowQuestion is the command line of vnetctl test-ip-flow.
type flowQuestion struct {
	source
	flow    flowText
	explain bool
	flows   string
}

func (a *app) testIPFlowCommand() *cobra.Command {
	var q flowQuestion
	c := &cobra.Command{
		Use:   "test-ip-flow",
		Short: "Tell whether a flow is allowed, and by which rule",
		Long: "Judge a flow by the security groups of documents, or as a running pod's flows are judged. The\n" +
			"flags are those of az network watcher test-ip-flow; the exit status does not depend on the\n" +
			"answer. With --flows it answers a flow a line: {\"direction\",\"protocol\",\"local\",\"remote\",\n" +
			"\"localASGs\",\"remoteASGs\"} with one {\"access\",\"ruleName\",\"nsg\"} each, in order, and ends at\n" +
			"the first line that is no flow.",
		Example: "  vnetctl test-ip-flow --documents nsg.json --nsg web-nsg --direction Inbound --protocol TCP \\\n" +
			"    --local 10.241.0.4:443 --remote 203.0.113.9:50000\n" +
			"  vnetctl test-ip-flow --pod default/web-0 --direction Outbound --protocol UDP --remote 10.241.0.10:53 --explain",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.testIPFlow(c, &q) },
	}
	q.register(a, c)
	f := c.Flags()
	f.StringVar(&q.flow.Direction, keyDirection, "", "Inbound or Outbound, as the local end sees it")
	f.StringVar(&q.flow.Protocol, keyProtocol, "", "TCP, UDP or ICMP; also ESP and AH")
	f.StringVar(&q.flow.Local, keyLocal, "", "`IP:PORT`; of a pod only the port need be told, and of ICMP only the address")
	f.StringVar(&q.flow.Remote, keyRemote, "", "`IP:PORT`; a port may be * where the answer does not depend on it")
	f.BoolVar(&q.explain, "explain", false, "tell of each rule what of it matches")
	f.StringVar(&q.flows, "flows", "", "`FILE` of flows, one JSON object a line; - is standard input")
	must(c.RegisterFlagCompletionFunc(keyDirection, cobra.FixedCompletions([]string{"Inbound", "Outbound"}, cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc(keyProtocol, cobra.FixedCompletions([]string{"TCP", "UDP", "ICMP", "ESP", "AH"}, cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc(keyLocal, cobra.NoFileCompletions))
	must(c.RegisterFlagCompletionFunc(keyRemote, cobra.NoFileCompletions))
	return c
}

func (a *app) testIPFlow(c *cobra.Command, q *flowQuestion) error {
	if err := q.check(c); err != nil {
		return err
	}
	if c.Flags().Changed("flows") {
		return a.testFlows(c, q)
	}
	var parsed question
	if err := q.flow.parse(&parsed); err != nil {
		return ofFlag(err)
	}
	if q.pod == "" && !parsed.Local.IsValid() {
		return ofFlag(&fieldError{keyLocal, q.flow.Local, "it has no address"})
	}
	j, err := q.judges(a)
	if err != nil {
		return err
	}
	parsed, verdict, err := j.ask(&q.flow)
	if err != nil {
		return ofFlag(err)
	}
	if q.explain {
		return a.printExplanation(j, parsed, verdict)
	}
	return a.printVerdict(j.answers[verdict.Rule])
}

func (a *app) testFlows(c *cobra.Command, q *flowQuestion) error {
	for _, name := range []string{keyDirection, keyProtocol, keyLocal, keyRemote, "explain"} {
		if c.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s and --flows %s: each line has a flow of its own", name, quoted(q.flows))}
		}
	}
	if q.flows == "" {
		return usageError{fmt.Errorf("--flows %q: it must be a file, or - for standard input", q.flows)}
	}
	in, name, err := openFlows(c, q.flows)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	j, err := q.judges(a)
	if err != nil {
		return err
	}
	if err := j.stream(in, a.out); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (a *app) printVerdict(v flowAnswer) error {
	if a.json() {
		return a.printJSON(v)
	}
	if v.RuleName == "" {
		return a.printf("%v  no security group\n", nsg.Allow)
	}
	return a.printf("%v  %s  (%s)\n", v.Access, cell(v.RuleName, 0), cell(v.NSG, 0))
}
