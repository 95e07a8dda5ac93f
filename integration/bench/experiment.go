package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// bench is what every experiment gets.
type bench struct {
	ctx context.Context
	options
	programs
	dir  string // in memory, as /run is, if there is such a place
	disk string // for much of what does not matter
}

// shm is where Linux systems have a tmpfs that any program may use.
const shm = "/dev/shm"

func (b *bench) makeDirs() (err error) {
	const pattern = "vnet-bench-"
	if b.disk, err = os.MkdirTemp("", pattern); err != nil {
		return err
	}
	b.dir = b.disk
	if dir, err := os.MkdirTemp(shm, pattern); err == nil {
		b.dir = dir
	}
	return nil
}

func (b *bench) removeDirs() {
	os.RemoveAll(b.dir)
	os.RemoveAll(b.disk)
}

// experiment measures one or more rows together.
type experiment struct {
	rows    []string
	measure func(*bench) ([]row, error)
}

var experiments = []experiment{
	{[]string{"add-ptp", "del-ptp"}, measurePTP},
	{[]string{"add-bridge", "del-bridge"}, measureBridge},
	{[]string{"add-parallel"}, measureParallel},
	{[]string{"ipam-leases"}, measureLeases},
	{[]string{"host-local-leases"}, measureHostLocalLeases},
	{[]string{"add-floor-exec", "add-floor-kernel", "del-floor-kernel"}, measureFloor},
	{[]string{"add-cpu", "add-cpu-exec", "add-cpu-kernel"}, measureCPU},
	{[]string{"add-dual"}, measureDual},
	{[]string{"add-1000-rules", "del-1000-rules"}, measureJudgedAdd},
	{[]string{"apply-1000-rules-1-pods", "apply-1000-rules-50-pods", "apply-1000-rules-250-pods", "add-during-apply"}, measureApply},
	{[]string{"connect-1", "connect-10", "connect-100", "connect-1000", "connect-1000-linear", "connect-adversarial",
		"connect-10-groups", "connect-50-groups"}, measureConnect},
	{[]string{"bulk-1000"}, measureBulk},
	{[]string{"del-flows"}, measureFlows},
	{[]string{"size"}, measureSize},
}

func rowNames() (names []string) {
	for _, e := range experiments {
		names = append(names, e.rows...)
	}
	return names
}

// Targets, as ratios of the medians.
const (
	targetAdd      = 0.5
	targetCPU      = 0.45
	targetParallel = 0.25
	targetDel      = 0.35
	targetLeases   = 1.2

	targetJudgedAdd = 1.15
	targetConnect   = 1 / 0.9  // of the time: 0.9 of the connections a second
	targetBulk      = 1 / 0.97 // of the time: 0.97 of the throughput

	targetSize = 6 << 20 // bytes
)

// oursIn is the plugin vnet with IPv4.
func (b *bench) oursIn(w *world) (plugin, error) {
	return newPlugin(b.vnet, vnetConf("pods", w.dir, pool("10.241.0.0/16", "10.241.4.0/22")))
}

func (b *bench) ptpIn(w *world) (plugin, error) { return newPlugin(b.ptp, ptpConf(w.dir)) }

func (b *bench) bridgeIn(w *world) (plugin, error) { return newPlugin(b.bridge, bridgeConf(w.dir)) }

// rivals makes a world with so many pods for the plugin vnet and a peer.
func (b *bench) rivals(pods int, peerIn func(*world) (plugin, error)) (w *world, ours, peer plugin, err error) {
	if w, err = newWorld(b.dir, pods); err != nil {
		return nil, plugin{}, plugin{}, err
	}
	if ours, err = b.oursIn(w); err != nil {
		return nil, plugin{}, plugin{}, err
	}
	peer, err = peerIn(w)
	return w, ours, peer, err
}

func measurePTP(b *bench) ([]row, error) { return b.duel("ptp", b.ptpIn) }

func measureBridge(b *bench) ([]row, error) { return b.duel("bridge", b.bridgeIn) }

// duel compares ADD and DEL, one at a time.
func (b *bench) duel(name string, peerIn func(*world) (plugin, error)) ([]row, error) {
	w, ours, peer, err := b.rivals(2, peerIn)
	if err != nil {
		return nil, err
	}
	ourAdd, ourDel := verbs("vnet", ours, w.pods[0])
	peerAdd, peerDel := verbs(name, peer, w.pods[1])
	err = w.node.do(func() error {
		return inTurn(b.ctx, b.roundsOf(1), []*trial{ourAdd, peerAdd}, []*trial{ourDel, peerDel})
	})
	if err != nil {
		return nil, err
	}
	return []row{
		versus("add-"+name, ourAdd, peerAdd, targetAdd),
		versus("del-"+name, ourDel, peerDel, targetDel),
	}, nil
}

func verbs(name string, p plugin, at *pod) (add, del *trial) {
	return &trial{name: name + " ADD", run: func() (time.Duration, error) { return p.add(at) }},
		&trial{name: name + " DEL", run: func() (time.Duration, error) { return p.del(at) }}
}

// measureDual compares our ADD with two families to that with one.
func measureDual(b *bench) ([]row, error) {
	w, err := newWorld(b.dir, 2)
	if err != nil {
		return nil, err
	}
	single, err := b.oursIn(w)
	if err != nil {
		return nil, err
	}
	dual, err := newPlugin(b.vnet, vnetConf("dual", w.dir,
		pool("10.241.0.0/16", "10.241.8.0/22"), pool("fd00:10:241::/64", "fd00:10:241::400/120")))
	if err != nil {
		return nil, err
	}
	dualAdd, dualDel := verbs("vnet, two families,", dual, w.pods[0])
	singleAdd, singleDel := verbs("vnet", single, w.pods[1])
	err = w.node.do(func() error {
		return inTurn(b.ctx, b.roundsOf(2), []*trial{dualAdd, singleAdd}, []*trial{dualDel, singleDel})
	})
	if err != nil {
		return nil, err
	}
	return []row{versus("add-dual", dualAdd, singleAdd, 0)}, nil
}

// measureSize compares the plugin's size to the target; the peers' stands beside.
func measureSize(b *bench) ([]row, error) {
	ours, err := size(b.vnet)
	if err != nil {
		return nil, err
	}
	peer, err := size(b.ptp, b.hostLocal)
	if err != nil {
		return nil, err
	}
	return []row{{
		Name: "size", Peer: "target (ptp + host-local have " + fmt.Sprint(peer) + ")",
		OursBytes: ours, PeerBytes: targetSize, Ratio: float64(ours) / targetSize, Target: 1,
	}}, nil
}

func size(paths ...string) (sum int64, err error) {
	for _, p := range paths {
		info, statErr := os.Stat(p)
		if statErr != nil {
			err = errors.Join(err, statErr)
			continue
		}
		sum += info.Size()
	}
	return sum, err
}
