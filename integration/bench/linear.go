package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// makeLinear replaces the tree of the subnet's inbound rules by the chain of the
// same rules in their order, which is how one would write them by hand.
func (p *judgedPair) makeLinear() error {
	rules, err := policy.InForce(filepath.Join(p.dir, "vnet"), "pods")
	if err != nil {
		return err
	}
	subnet, err := rules.Policy(rules.Subnet())
	if err != nil {
		return err
	}
	return p.node.do(func() error {
		entry, err := exec.Command("sh", "-c", "iptables -w -t mangle -S VNET-IN-pods | sed -n 's/.*-j \\(VNET-.*-I0\\)$/\\1/p'").Output()
		if err != nil || len(entry) == 0 {
			return fmt.Errorf("find the chain of the subnet's group: %q, %w", entry, err)
		}
		return restoreLinear(subnet, strings.TrimSpace(string(entry)))
	})
}

func restoreLinear(subnet *nsg.Policy, entry string) error {
	linear := program.Linear(subnet, nsg.Inbound, false, program.Names{
		Chain:   func(int) string { return entry },
		Content: func(content string) string { return "bench-" + program.Hash(content) },
		ASG:     func(asg string) string { return "bench-asg-" + program.Hash(asg) },
	})
	var sets, rules strings.Builder
	for _, s := range linear.Sets() {
		writeSet(&sets, s)
	}
	rules.WriteString("*mangle\n:" + entry + " - [0:0]\n")
	for i := range linear.Chains[0].Rules {
		rules.WriteString("-A " + entry + " " + linear.Chains[0].Rules[i].Text(false) + "\n")
	}
	rules.WriteString("COMMIT\n")
	if err := feed(sets.String(), "ipset", "restore", "-exist"); err != nil {
		return err
	}
	return feed(rules.String(), "iptables-restore", "-w", "--noflush")
}

func writeSet(b *strings.Builder, s *program.Set) {
	switch s.Type {
	case program.NetSet:
		fmt.Fprintf(b, "create %s hash:net\n", s.Name)
		for _, p := range s.Prefixes {
			fmt.Fprintf(b, "add %s %s\n", s.Name, p)
		}
	case program.PortSet:
		fmt.Fprintf(b, "create %s bitmap:port range 0-65535\n", s.Name)
		for _, r := range s.Ports {
			fmt.Fprintf(b, "add %s %s-%s\n", s.Name, strconv.Itoa(int(r.First)), strconv.Itoa(int(r.Last)))
		}
	case program.ASGSet:
		fmt.Fprintf(b, "create %s hash:ip\n", s.Name)
	}
}

func feed(input, command string, args ...string) error {
	cmd := exec.Command(command, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return nil
}
