package firewall

// Usable tells whether the node has what Ensure would need: the programs of
// the recorded backend for the network's families, and ipset in the kernel. It
// changes nothing.
func (f *Firewall) Usable(n Network) error {
	if _, _, err := findBackend(n.StateDir, n.families()); err != nil {
		return err
	}
	return f.sets.answers()
}
