package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Rules is what a network's documents say: what is in force, or will be.
type Rules struct {
	stateDir, network string
	pods              func() ([]firewall.Pod, error)

	want index
	read *contents // nil where what is in force is wanted: the state file has it
	kept bool      // the last good documents stay, for those of today are broken
	anew bool      // nothing tells what is in force
}

// Open looks at the network's documents. While they are the ones in force, it
// reads no document. Documents that are broken do not replace good ones: those
// stay, and Rejected tells why. Without good ones the fault is the error, and so
// is a configuration that asks for what the documents do not have. pods lists the
// network's living pods; it is asked when rules are made.
func Open(stateDir, network string, c Config, pods func() ([]firewall.Pod, error)) (*Rules, error) {
	r := &Rules{stateDir: stateDir, network: network, pods: pods}
	now, found := readIndex(stateDir, network)
	seen, err := stamps(c.Documents)
	if found && err == nil && now.isOf(c, seen) {
		r.want = now
		return r, r.unreject() // they may be the old ones again
	}
	old, known := readRejection(stateDir, network)
	if found && known && !old.ByPods && old.Making == making && old.isOf(c, seen) {
		r.want, r.kept = now, true
		return r, nil
	}
	r.want, r.read, err = load(c)
	r.anew = !found
	byPods := err == nil
	if byPods {
		err = r.check()
	}
	asksInVain := !now.has(c.Subnet) || !now.Config.sameTable(c) && errors.As(err, new(tableError))
	if err == nil || !found || asksInVain {
		return r, err
	}
	r.want, r.read, r.kept = now, nil, true
	if why := (rejection{Config: c, Making: making, Stamps: seen, Reason: err.Error(), ByPods: byPods}); !known || !old.equal(why) {
		r.reject(why)
	}
	return r, nil
}

// Unrecorded is what the documents say where nothing tells what is in force: as on a new
// node, or where the state was lost. Else it is nil.
func (r *Rules) Unrecorded() *View {
	if !r.anew {
		return nil
	}
	return &View{Config: r.want.Config, index: r.want, contents: r.read}
}

// Reopen is Open with the configuration of what is in force.
func Reopen(stateDir, network string, pods func() ([]firewall.Pod, error)) (*Rules, error) {
	now, found := readIndex(stateDir, network)
	if !found {
		return nil, fmt.Errorf("network %s has no security groups in force", network)
	}
	return Open(stateDir, network, now.Config, pods)
}

// check makes sure that the groups which are needed can be used.
func (r *Rules) check() error {
	_, err := r.compiled(r.read)
	return err
}

// reject notes why documents are not taken, for people. Where it cannot, as on a
// full disk, nothing depends on it. Several verbs may do it at once.
func (r *Rules) reject(why rejection) {
	data, err := json.Marshal(why)
	if err != nil {
		return
	}
	file, err := os.CreateTemp(r.stateDir, "."+r.network+rejectedSuffix+".")
	if err != nil {
		return
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(r.stateDir, r.network+rejectedSuffix))
	}
	if err != nil {
		os.Remove(file.Name())
	}
}

// Group finds the group that a pod asks for and makes sure that it can be used.
// It returns its key.
func (r *Rules) Group(nameOrID string) (string, error) {
	key, err := r.want.key(nameOrID)
	if err != nil || r.read == nil && slices.Contains(r.want.Used, key) {
		return key, err
	}
	c, err := r.contents()
	if err != nil {
		return "", err
	}
	_, err = c.policy(key)
	return key, err
}

// contents is what the documents hold.
func (r *Rules) contents() (*contents, error) {
	if r.read != nil {
		return r.read, nil
	}
	_, c, err := readState(r.stateDir, r.network)
	if err != nil { // somebody damaged the file
		_, c, err = load(r.want.Config)
	}
	return c, err
}

// Judging is what the firewall is to install for the network, with the groups of
// the pods that it is about. Those that are dispensable are wanted as far as they can
// be had.
func (r *Rules) Judging(pods ...firewall.Pod) *firewall.Judging {
	groups := firewall.GroupsOf(pods...)
	groups = slices.DeleteFunc(groups, func(key string) bool {
		if slices.ContainsFunc(pods, func(p firewall.Pod) bool { return p.Group == key && !p.Remote }) {
			return false
		}
		usable, err := r.Group(key)
		return err != nil || usable != key
	})
	return &firewall.Judging{Groups: groups, Pods: r.pods, Stale: r.stale, Mark: r.mark, Load: r.policies}
}

// stale reports whether what is in force is not what the documents say.
func (r *Rules) stale() bool {
	if r.kept {
		return false
	}
	now, found := readIndex(r.stateDir, r.network)
	if !found || !now.isOf(r.want.Config, now.Stamps) {
		return true
	}
	seen, err := stamps(r.want.Config.Documents)
	return err == nil && !now.isOf(r.want.Config, seen)
}

// mark is that of the file which every installation writes anew.
func (r *Rules) mark() string {
	s, err := stampOf(statePath(r.stateDir, r.network))
	if err != nil {
		return "" // nothing is in force
	}
	return fmt.Sprint(s)
}

// policies is what has to be in force by the documents of this moment.
func (r *Rules) policies() (*firewall.Policies, error) {
	if err := r.refresh(); err != nil {
		return nil, err
	}
	c, err := r.contents()
	if err != nil {
		return nil, err
	}
	p, err := r.compiled(c)
	if err != nil {
		return nil, err
	}
	p.Flush = r.flushed(p, c)
	p.InForce = func(counted []firewall.Count) error { return r.inForce(p, c, counted) }
	return p, nil
}

// flushed returns the groups that want their changes to apply to running flows,
// and have changed.
func (r *Rules) flushed(p *firewall.Policies, c *contents) []string {
	was, old, err := readState(r.stateDir, r.network)
	if err != nil {
		old = &contents{} // nothing was in force
	}
	var out []string
	if p.Subnet != nil && p.Subnet.Group.FlushConnection && c.differs(r.want.Subnet, old, was.Subnet) {
		out = append(out, firewall.SubnetKey)
	}
	for key, group := range p.Interfaces {
		if group.Group.FlushConnection && c.differs(key, old, key) {
			out = append(out, key)
		}
	}
	return out
}

// compiled makes the policies of all groups that the network's pods have, or are about
// to get. A group that only pods of other nodes have may be missing or broken here: it
// is theirs, and these documents may be older or newer than theirs. It is no reason to
// reject the documents or to keep a pod of this node from coming. What enters here for
// such a pod is dropped, for it is in the set of those who must have a group and in no
// group's. Nor is a group that a pod does not get then.
func (r *Rules) compiled(c *contents) (*firewall.Policies, error) {
	pods, err := r.pods()
	if err != nil {
		return nil, fmt.Errorf("list the pods of network %s: %w", r.network, err)
	}
	p := &firewall.Policies{
		Pods: pods, List: r.pods, Own: nsg.AddressesIn(r.want.Config.Own...),
		SameNodeFree: r.want.Config.SameNodeFree, Interfaces: map[string]*nsg.Policy{},
	}
	if r.want.Subnet != "" {
		if p.Subnet, err = c.policy(r.want.Subnet); err != nil {
			return nil, err
		}
	}
	for _, pod := range pods {
		for _, key := range firewall.GroupsOf(pod) {
			dispensable := pod.Dispensable(key)
			if p.Interfaces[key] != nil || dispensable && slices.Contains(p.Unusable, key) {
				continue
			}
			made, err := c.policy(key)
			switch {
			case err == nil:
				p.Interfaces[key] = made
			case dispensable:
				p.Unusable = append(p.Unusable, key)
			default:
				return nil, fmt.Errorf("a pod with %s has the group: %w", pod.Addrs, err)
			}
		}
	}
	return p, nil
}

// refresh looks at the documents again: they may have changed since Open, and may
// have been put in force by another process.
func (r *Rules) refresh() error {
	if r.read != nil {
		seen, err := stamps(r.want.Config.Documents)
		now, found := readIndex(r.stateDir, r.network)
		byOthers := found && now.isOf(r.want.Config, seen)
		if err == nil && slices.Equal(seen, r.want.Stamps) && !byOthers {
			return nil
		}
	}
	again, err := Open(r.stateDir, r.network, r.want.Config, r.pods)
	if err != nil {
		return err
	}
	r.want, r.read, r.kept = again.want, again.read, again.kept
	return nil
}

// inForce writes down what the firewall has installed.
func (r *Rules) inForce(p *firewall.Policies, c *contents, counted []firewall.Count) error {
	r.want.Used = nil
	for key := range p.Interfaces {
		r.want.Used = append(r.want.Used, key)
	}
	slices.Sort(r.want.Used)
	if !r.kept {
		r.want.Making = making
	}
	var before []firewall.Count
	if _, old, err := readState(r.stateDir, r.network); err == nil {
		before = old.Counted
	}
	c.Counted = Sum(before, counted)
	if err := writeState(r.stateDir, r.network, r.want, c); err != nil {
		return err
	}
	if r.kept {
		return nil
	}
	return r.unreject()
}

func (r *Rules) unreject() error {
	err := os.Remove(filepath.Join(r.stateDir, r.network+rejectedSuffix))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget that documents were rejected: %w", err)
	}
	return nil
}

// Sum adds up what rules counted before and since.
func Sum(before, since []firewall.Count) []firewall.Count {
	var out []firewall.Count
	at := map[firewall.Count]int{} // by what it is about
	for _, c := range slices.Concat(before, since) {
		about := c.About()
		i, known := at[about]
		if !known {
			i, at[about] = len(out), len(out)
			out = append(out, about)
		}
		out[i].Packets += c.Packets
		out[i].Bytes += c.Bytes
	}
	return out
}
