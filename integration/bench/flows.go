package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// flowCount is how many flows the node of a busy cluster may track.
const flowCount = 200_000

// measureFlows compares a DEL on a node that tracks many flows of others, and some
// of the pod, with one on a node that tracks none.
func measureFlows(b *bench) ([]row, error) {
	var dels, adds []*trial
	for _, flows := range []int{flowCount, 0} {
		w, err := newWorld(b.dir, 1)
		if err != nil {
			return nil, err
		}
		p, err := b.oursIn(w)
		if err != nil {
			return nil, err
		}
		if err := w.node.do(func() error { return track(flows) }); err != nil {
			return nil, err
		}
		add, del := w.verbs(fmt.Sprintf("%d flows", flows), p, w.pods[0])
		adds, dels = append(adds, add), append(dels, del)
	}
	if err := inTurn(b.ctx, b.roundsOf(2), adds, dels); err != nil {
		return nil, err
	}
	return []row{versus("del-flows", dels[0], dels[1], 0)}, nil
}

// track makes the namespace track so many UDP flows from itself to itself.
func track(flows int) error {
	if err := shell(tracked + " && echo 600 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout"); err != nil || flows == 0 {
		return err
	}
	const perSource = 50_000
	for source := range flows / perSource {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 1, byte(source+1))})
		if err != nil {
			return err
		}
		for i := range perSource {
			to := &net.UDPAddr{IP: net.IPv4(127, 0, 2, byte(1+i/60_000)), Port: 1 + i%60_000}
			if _, err := c.WriteToUDP([]byte("x"), to); err != nil && !strings.Contains(err.Error(), "refused") {
				return err
			}
		}
		_ = c.Close()
	}
	return tracks(flows)
}

// tracks makes sure that the namespace tracks about so many flows: a table that
// is too small drops the rest.
func tracks(flows int) error {
	count, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(count)))
	if err == nil && n < flows*9/10 {
		err = fmt.Errorf("%d flows are tracked, not %d: net.netfilter.nf_conntrack_max is too small", n, flows)
	}
	return err
}
