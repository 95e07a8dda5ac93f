package firewall

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Listing remembers what the rules that judge a network look like in the kernel since
// they were last installed, so that who looks again and again need not install them
// again and again. The zero Listing knows nothing yet: all rules are installed once,
// and where they should have been there, what was other than they are now is drift.
type Listing struct {
	// Drift tells in words for people what Ensure found other than it had been
	// installed. By then it is repaired.
	Drift []string
	// Once is for who does not look again: what is installed is not listed for that.
	Once bool

	of     string // network and mark of what was installed
	groups string // of pods at that time
	// generation is the kernel's, in which the chains were as they are here.
	generation uint32
	// chains has a hash of each as iptables-save writes it, without counters; sets
	// the size of each that rules speak of. Both are by what they are about.
	chains, sets map[string]string
	idle         bool // there are sets that serve nobody
}

// compare reports whether all is as it was installed, and nothing is left of groups
// that nobody has any more. Chains are listed only if the kernel's rules are others
// than at the last look.
func (f *Firewall) compare(n Network, programs []*iptables) (whole bool, err error) {
	l := n.Judging.Listing
	if l.of != n.installation(programs) { // others were installed meanwhile
		return false, nil
	}
	now, err := f.look(n, programs, l)
	if err != nil {
		return false, fmt.Errorf("look at the rules of network %s: %w", n.Name, err)
	}
	drift := append(differences(l.chains, now.chains), differences(l.sets, now.sets)...)
	l.Drift = append(l.Drift, drift...)
	if len(drift) > 0 || now.idle || l.groups != now.groups {
		return false, nil
	}
	l.generation = now.generation
	return true, nil
}

// remember lists what was just installed.
func (f *Firewall) remember(n Network, programs []*iptables) error {
	l, err := f.look(n, programs, &Listing{})
	if err != nil {
		return fmt.Errorf("remember the rules of network %s: %w", n.Name, err)
	}
	l.Drift = n.Judging.Listing.Drift
	*n.Judging.Listing = l
	return nil
}

// judgeAndTell is judge for a Listing that knows nothing yet: what is found is
// compared with what is there afterwards.
func (f *Firewall) judgeAndTell(n Network, programs []*iptables) error {
	found, err := f.look(n, programs, &Listing{})
	if err != nil {
		return fmt.Errorf("look at the rules of network %s: %w", n.Name, err)
	}
	if err := f.judge(n, programs); err != nil {
		return err
	}
	if err := f.remember(n, programs); err != nil {
		return err
	}
	l := n.Judging.Listing
	l.forget(&found, n.Name)
	l.Drift = append(l.Drift, append(differences(l.chains, found.chains), differences(l.sets, found.sets)...)...)
	return nil
}

// forget takes out of what was found what served groups that nobody has any more: it
// was not damaged but taken away.
func (l *Listing) forget(found *Listing, network string) {
	chainOf := func(part string) string { return part[strings.LastIndex(part, " ")+1:] }
	programs := map[string]bool{}
	for part := range l.chains {
		programs[programOfChain(chainOf(part))] = true
	}
	gone := false
	maps.DeleteFunc(found.chains, func(part, _ string) bool {
		chain := chainOf(part)
		idle := ofGroups(network, chain) && !programs[programOfChain(chain)]
		gone = gone || idle
		return idle
	})
	for part, hash := range l.chains {
		if gone && slices.Contains(networkChains(network), chainOf(part)) {
			found.chains[part] = hash // which led there
		}
	}
	maps.DeleteFunc(found.sets, func(part, _ string) bool {
		_, there := l.sets[part]
		return !there
	})
}

// look lists what judges the network. Chains that cannot have changed since another
// look are taken from there.
func (f *Firewall) look(n Network, programs []*iptables, last *Listing) (Listing, error) {
	l := Listing{of: n.installation(programs), groups: fmt.Sprint(n.Judging.Groups), chains: map[string]string{}, sets: map[string]string{}}
	if err := f.listSets(&l, n.Name, programs); err != nil {
		return l, err
	}
	var err error
	if l.generation, err = f.generation(programs[0]); err != nil {
		return l, err
	}
	if l.generation != 0 && l.generation == last.generation {
		l.chains = last.chains
		return l, nil
	}
	f.step("list the rules")
	for _, p := range programs {
		now, err := p.save("mangle")
		if err != nil {
			return l, err
		}
		for chain, hash := range now.hashes(n.scope(), n.Name) {
			l.chains[chainPart(chain, p.family)] = hash
		}
		for _, e := range n.scope().entries(p.family) {
			l.chains[chainPart(e.base, p.family)] = program.Hash(strings.Join(now.upTo(e), "\n"))
		}
	}
	return l, nil
}

// generation is a number that is another one after any change of the kernel's rules.
// The backend legacy has none: 0.
func (f *Firewall) generation(p *iptables) (uint32, error) {
	if p.backend != backendNFT {
		return 0, nil
	}
	return f.sets.rulesGeneration()
}

// listSets notes the sizes of the sets that rules speak of, and whether any serves
// nobody.
func (f *Firewall) listSets(l *Listing, network string, programs []*iptables) error {
	headers, err := f.sets.list("list the ipsets", "", flagListHeader)
	if err != nil {
		return err
	}
	var idle []string
	for _, h := range headers {
		content := strings.HasPrefix(h.name, contentSets(network))
		if content {
			l.sets["ipset "+h.name] = strconv.Itoa(int(h.members))
		}
		if h.references == 0 && (content || h.members == 0) {
			idle = append(idle, h.name)
		}
	}
	l.idle = slices.ContainsFunc(programs, func(p *iptables) bool { return len(judgingSetsOf(idle, network, p.family)) > 0 })
	return nil
}

// installation names what is in force.
func (n Network) installation(programs []*iptables) string {
	name := fmt.Sprint(n.Name, len(programs))
	if n.Judging.Mark != nil {
		name += " " + n.Judging.Mark()
	}
	return name
}

func chainPart(chain string, f family) string { return "IPv" + f.suffix() + " chain " + chain }

// hashes gives those of the chains that judge the network, by name. In the node-wide
// ones other networks may come and go.
func (s saved) hashes(of scope, network string) map[string]string {
	others := s.otherStrays(network)
	for _, d := range []nsg.Direction{nsg.Outbound, nsg.Inbound} {
		others = append(others, s.otherNetworks(of.side(network, d))...)
	}
	text := map[string]*strings.Builder{}
	for _, name := range s.chains {
		if of.judges(network, name) {
			text[name] = &strings.Builder{}
		}
	}
	for _, r := range s.rules {
		if b := text[r.chain]; b != nil && !slices.Contains(others, r.text) {
			b.WriteString(r.text + "\n")
		}
	}
	hashes := make(map[string]string, len(text))
	for name, b := range text {
		hashes[name] = program.Hash(b.String())
	}
	return hashes
}

// judges reports whether a chain has rules of the network's.
func (s scope) judges(network, chain string) bool {
	return ofGroups(network, chain) || slices.Contains(networkChains(network), chain) || slices.Contains(s.nodeChains(), chain)
}

// upTo returns the rules of others' chain as far as ours reach: what is before them
// decides in their place. The tunnel's guard, and what judges the pods of the other
// scope, decide about nothing of theirs.
func (s saved) upTo(e entries) []string {
	rules := slices.DeleteFunc(s.in(e.base), func(r string) bool {
		return !e.owns(r) && slices.ContainsFunc([]string{comment, foreignComment, tunnelComment}, func(mark string) bool {
			return hasOption(strings.Fields(r), "--comment", mark)
		})
	})
	last := 0
	for i, r := range rules {
		if e.owns(r) {
			last = i + 1
		}
	}
	return rules[:last]
}

// differences names the parts that are not as they were.
func differences(were, are map[string]string) []string {
	var out []string
	for part, was := range were {
		if are[part] != was {
			out = append(out, part+" is not as it was installed")
		}
	}
	for part := range are {
		if _, known := were[part]; !known {
			out = append(out, part+" was not installed")
		}
	}
	slices.Sort(out)
	return out
}

// vouchesFor reports whether the chains of a program are remembered as they are in the
// table. Without a listing the program's own word has to do.
func (l *Listing) vouchesFor(p compiled, hashes map[string]string, f family) bool {
	return l == nil || !slices.ContainsFunc(p.chains, func(c chain) bool {
		was, known := l.chains[chainPart(c.name, f)]
		return !known || was != hashes[c.name]
	})
}
