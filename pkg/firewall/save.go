package firewall

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// saved is one table as iptables-save -c writes it: all that a change has to
// know, read with one program. (go-iptables lists a chain at a time, and there
// can be a thousand.)
type saved struct {
	chains []string // user-defined
	rules  []savedRule
}

type savedRule struct {
	chain, text    string // the text as iptables -S has it, without "-A CHAIN "
	packets, bytes uint64
}

// save reads a table. One that nobody ever used is empty.
func (t *iptables) save(table string) (saved, error) {
	p, err := t.startSave(table)
	if err != nil {
		return saved{}, err
	}
	return p.wait()
}

// saving is a table that is being read.
type saving struct {
	table   string
	program *running
}

// startSave begins to read a table, which takes a while where it is large.
func (t *iptables) startSave(table string) (*saving, error) {
	p, err := start(t.saveCommand, "", "-c", "-t", table)
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, err)
	}
	return &saving{table: table, program: p}, nil
}

func (s *saving) wait() (saved, error) {
	out, err := s.program.wait()
	if err != nil {
		return saved{}, fmt.Errorf("read table %s: %w", s.table, locked(err))
	}
	return parseSaved(out), nil
}

// parseSaved reads lines such as ":CHAIN - [0:0]" and "[12:720] -A CHAIN …".
func parseSaved(text string) saved {
	var s saved
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if c, ok := strings.CutPrefix(line, ":"); ok {
			if name, policy, _ := strings.Cut(c, " "); strings.HasPrefix(policy, "-") {
				s.chains = append(s.chains, name)
			}
			continue
		}
		counters, rest, ok := strings.Cut(line, "] -A ")
		if !ok || !strings.HasPrefix(counters, "[") {
			continue
		}
		var r savedRule
		r.chain, r.text, _ = strings.Cut(rest, " ")
		packets, bytes, _ := strings.Cut(counters[1:], ":")
		r.packets, _ = strconv.ParseUint(packets, 10, 64)
		r.bytes, _ = strconv.ParseUint(bytes, 10, 64)
		s.rules = append(s.rules, r)
	}
	return s
}

// in returns the rules of one chain.
func (s saved) in(chain string) []string {
	var out []string
	for _, r := range s.rules {
		if r.chain == chain {
			out = append(out, r.text)
		}
	}
	return out
}

// otherNetworks returns the rules of the side's node-wide chain that lead to the
// chains of other networks.
func (s saved) otherNetworks(of side) []string {
	var out []string
	for _, r := range s.in(of.node) {
		fields := strings.Fields(r)
		target := slices.Index(fields, "-g")
		if target < 0 || target+1 == len(fields) || fields[target+1] == of.network {
			continue
		}
		out = append(out, r)
	}
	return out
}

// otherStrays returns the rules for other networks' addresses that nobody has.
func (s saved) otherStrays(network string) []string {
	var out []string
	for _, r := range s.in(strayChain) {
		fields := strings.Fields(r)
		set := slices.Index(fields, "--match-set")
		if set < 0 || set+1 == len(fields) || strings.HasPrefix(fields[set+1], contentSets(network)) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// ownEntries returns our rules in the chains of others, for each of the table's
// entries.
func (s saved) ownEntries(t table) [][]string {
	own := make([][]string, len(t.entries))
	for i, e := range t.entries {
		for _, r := range s.in(e.base) {
			if e.owns(r) {
				own[i] = append(own[i], r)
			}
		}
	}
	return own
}
