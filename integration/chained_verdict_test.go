package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// Classes of ports that random rules speak of.
var verdictClasses = []uint16{8000, 9000, 10000, 11000, 12000, 13000}

// randomRules are rules about the classes, the pods' addresses and ASGs.
func randomRules(r *rand.Rand, count int) []secRule {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	var rules []secRule
	for i := range count {
		first := verdictClasses[r.IntN(len(verdictClasses))]
		rule := ruleOf(pick("Inbound", "Outbound"), pick("Allow", "Deny"), pick("Tcp", "Udp", "*"), fmt.Sprintf("%d-%d", first, first+classWidth-1))
		switch r.IntN(6) {
		case 0:
			rule = rule.fromASG(pick("asg-1", "asg-2"))
		case 1:
			rule = rule.toASG(pick("asg-1", "asg-2"))
		case 2:
			rule = rule.from(pick("VirtualNetwork", "Internet", "10.244.0.0/28", "10.244.0.3/32", "fd00:10:244::/125"))
		case 3:
			rule = rule.to(pick("VirtualNetwork", "Internet", "10.244.0.0/28", "10.244.0.2/32", "fd00:10:244::/125"))
		case 4:
			rule = rule.with("protocol", "Icmp").with("destinationPortRange", "*")
		}
		rules = append(rules, rule.named(fmt.Sprint("random-", i)))
	}
	return rules
}

// question is a flow between two pods, or a pod and its node.
type question struct {
	expectation
	from, to *chainedPod // nil: the node
}

// side is what vnetctl is asked about one end.
func (q question) side(direction string) map[string]any {
	local, remote := netip.AddrPortFrom(q.peer, 50000), netip.AddrPortFrom(q.Dst, q.ServerPort)
	if direction == "Inbound" {
		local, remote = remote, local
	}
	protocol := strings.ToUpper(string(q.Proto))
	if q.Proto == testnet.ICMP {
		return map[string]any{"direction": direction, "protocol": protocol, "local": local.Addr().String(), "remote": remote.Addr().String()}
	}
	return map[string]any{"direction": direction, "protocol": protocol, "local": local.String(), "remote": remote.String()}
}

// ask asks vnetctl about flows of one pod.
func (c *chain) ask(p *chainedPod, flows []map[string]any) []string {
	c.t.Helper()
	var in bytes.Buffer
	for _, f := range flows {
		line, err := json.Marshal(f)
		if err != nil {
			c.t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	cmd := c.node.Command(nil, testnet.Bin(c.t, "vnetctl"), "--state-dir", c.node.StateDir(), "test-ip-flow", "--pod", p.ContainerID(), "--flows", "-")
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &stderr
	if err := c.node.Run(cmd); err != nil {
		c.t.Fatalf("vnetctl test-ip-flow: %v: %s", err, stderr.String())
	}
	var verdicts []string
	for line := range strings.Lines(out.String()) {
		var answer struct{ Access string }
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			c.t.Fatalf("%q: %v", line, err)
		}
		verdicts = append(verdicts, answer.Access)
	}
	if len(verdicts) != len(flows) {
		c.t.Fatalf("%d answers to %d flows", len(verdicts), len(flows))
	}
	return verdicts
}

// verdicts are vnetctl's: the sender's groups and the receiver's have to allow it.
func (c *chain) verdicts(questions []question) []bool {
	c.t.Helper()
	allowed := make([]bool, len(questions))
	type asked struct {
		flows []map[string]any
		of    []int
	}
	by := map[*chainedPod]*asked{}
	add := func(p *chainedPod, direction string, i int) {
		if p == nil {
			return
		}
		if by[p] == nil {
			by[p] = &asked{}
		}
		by[p].flows, by[p].of = append(by[p].flows, questions[i].side(direction)), append(by[p].of, i)
	}
	for i, q := range questions {
		allowed[i] = true
		if q.from != nil { // what the node sends passes
			add(q.from, "Outbound", i)
			add(q.to, "Inbound", i)
		}
	}
	for p, a := range by {
		for k, verdict := range c.ask(p, a.flows) {
			allowed[a.of[k]] = allowed[a.of[k]] && verdict == "Allow"
		}
	}
	return allowed
}

// TestChainedVerdicts sends real packets under random groups between pods of a main
// plugin, and between them and their node: the kernel does with each what vnetctl,
// which has the documents and the records, says of it.
func TestChainedVerdicts(t *testing.T) {
	const rounds, perRound = 3, 120
	eachMain(t, func(t *testing.T, main, backend string) {
		seed := uint64(len(main)*1000 + len(backend))
		r := rand.New(rand.NewPCG(seed, 1))
		docs := newDocuments(t, restGroup("subnet"), restGroup("web"), restGroup("api"))
		c := newChain(t, main, docs.conf("subnet"), testnet.WithIptables(backend))
		pods := []*chainedPod{}
		for _, at := range []testnet.Attach{
			annotated("vnet-cni.io/nsg", "web", "vnet-cni.io/asgs", "asg-1"),
			annotated("vnet-cni.io/nsg", "api", "vnet-cni.io/asgs", "asg-1,asg-2"),
			annotated("vnet-cni.io/asgs", "asg-2"),
			annotated("vnet-cni.io/nsg", "web"),
		} {
			p := c.add(at)
			pods = append(pods, &p)
		}
		passed, silent := 0, 0
		for range rounds {
			for _, name := range []string{"subnet", "web", "api"} {
				docs.put(name+".json", restGroup(name, randomRules(r, 5+r.IntN(20))...))
			}
			c.ctl("apply")
			questions := c.draw(r, pods, perRound)
			want := c.verdicts(questions)
			p, s := expectVerdictsOf(t, questions, want)
			passed, silent = passed+p, silent+s
		}
		t.Logf("seed %d: %d flows passed, %d were silent, as vnetctl says", seed, passed, silent)
		if passed < rounds*perRound/10 || silent < rounds*perRound/10 {
			t.Error("the flows prove little")
		}
	})
}

// draw draws flows between different ends.
func (c *chain) draw(r *rand.Rand, pods []*chainedPod, count int) []question {
	ends := append(slices.Clone(pods), nil)
	at := func(p *chainedPod) pod {
		if p == nil {
			return c.gateway()
		}
		return p.pod
	}
	var out []question
	for len(out) < count {
		from, to := ends[r.IntN(len(ends))], ends[r.IntN(len(ends))]
		if from == to {
			continue
		}
		src, dst := at(from), at(to).addrs()[r.IntN(2)]
		f := testnet.Flow{Proto: allProtos[r.IntN(len(allProtos))], From: src.NS, To: at(to).NS, Dst: dst}
		if f.Proto != testnet.ICMP {
			f.ServerPort = portOf(verdictClasses[r.IntN(len(verdictClasses))])
		}
		out = append(out, question{expectation{f, src.like(dst)}, from, to})
	}
	return out
}

// expectVerdictsOf sends all flows at once.
func expectVerdictsOf(t *testing.T, questions []question, allowed []bool) (passed, silent int) {
	t.Helper()
	flows := make([]testnet.Flow, len(questions))
	for i, q := range questions {
		flows[i] = q.Flow
		if !allowed[i] {
			flows[i].Timeout = silence
		}
	}
	_, errs := testnet.TryAll(flows)
	for i, err := range errs {
		switch {
		case allowed[i] && err != nil:
			t.Errorf("vnetctl allows it: %v port %d: %v", flows[i], flows[i].ServerPort, err)
		case !allowed[i] && err == nil:
			t.Errorf("vnetctl denies it, and it passed: %v port %d", flows[i], flows[i].ServerPort)
		case allowed[i]:
			passed++
		default:
			silent++
		}
	}
	return passed, silent
}
