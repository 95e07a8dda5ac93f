package testcluster

import (
	"fmt"
	"strings"
	"testing"
)

// Dump writes to the test's log what somebody needs who was not there: objects and
// Events of the namespace, and each node's network as the agent and the kernel see it.
func (c *Cluster) Dump(tb testing.TB, namespace string) {
	tb.Helper()
	for _, args := range [][]string{
		{"get", "nodes", "-o", "wide"},
		{"get", "nodepods", "-o", "yaml"},
		{"-n", namespace, "get", "pods,services,endpointslices", "-o", "wide"},
		{"-n", SystemNamespace, "get", "pods,configmaps", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp", "-o", "custom-columns=LAST:.lastTimestamp,NS:.metadata.namespace,ON:.involvedObject.name,REASON:.reason,MESSAGE:.message"},
		{"-n", SystemNamespace, "logs", "-l", "app.kubernetes.io/name=vnet-agent", "--prefix", "--tail=60"},
	} {
		out, err := c.Kubectl(args...)
		tb.Logf("$ kubectl %s (%v)\n%s", strings.Join(args, " "), err, tail(out))
	}
	agents, _ := c.Kubectl("-n", SystemNamespace, "get", "pods", "-l", "app.kubernetes.io/name=vnet-agent", "-o", "jsonpath={.items[*].metadata.name}")
	for _, agent := range strings.Fields(agents) {
		for _, cmd := range []string{"vnetctl status", "vnetctl pods", "iptables-save -c -t mangle", "ip6tables-save -c -t mangle"} {
			out, err := c.Kubectl(append([]string{"-n", SystemNamespace, "exec", agent, "--"}, strings.Fields(cmd)...)...)
			tb.Logf("%s: %s (%v)\n%s", agent, cmd, err, tail(out))
		}
	}
	if !c.Own() {
		return
	}
	for _, node := range c.names() {
		for _, cmd := range []string{"ip -br addr", "ip route", "ip -6 route", "ipset list -o save"} {
			out, err := c.NodeExec(node, strings.Fields(cmd)...)
			tb.Logf("%s: %s (%v)\n%s", node, cmd, err, tail(out))
		}
	}
}

func (c *Cluster) names() []string {
	out, _ := c.Kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")
	return strings.Fields(out)
}

// tail keeps the end of a long output.
func tail(out string) string {
	const lines = 80
	all := strings.Split(strings.TrimSpace(out), "\n")
	if len(all) <= lines {
		return strings.Join(all, "\n")
	}
	return fmt.Sprintf("… %d lines before\n%s", len(all)-lines, strings.Join(all[len(all)-lines:], "\n"))
}
