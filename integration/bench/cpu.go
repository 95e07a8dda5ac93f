package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// measureCPU compares the CPU time of one ADD to the peer's and to that of the two
// parts that no plugin can do without. Where more ADDs run at once than there are
// processors, it is what a batch takes, whatever else they wait for.
func measureCPU(b *bench) ([]row, error) {
	w, ours, peer, err := b.rivals(4, b.ptpIn)
	if err != nil {
		return nil, err
	}
	empty, err := emptyProgram(b.disk)
	if err != nil {
		return nil, err
	}
	bare, err := newBare(w.node, w.pods[3].namespace)
	if err != nil {
		return nil, err
	}
	add, del := cpuOf("vnet", ours, w.pods[0])
	peerAdd, peerDel := cpuOf("ptp", peer, w.pods[1])
	start, _ := cpuOf("empty program", plugin{path: empty}, w.pods[2])
	link := &trial{name: "bare requests", run: func() (time.Duration, error) { return threadCPU(bare.add) }}
	unlink := &trial{name: "bare deletion", run: bare.delete}
	err = w.node.do(func() error {
		return inTurn(b.ctx, b.roundsOf(1), []*trial{add, peerAdd, start, link}, []*trial{del, peerDel, unlink})
	})
	if err != nil {
		return nil, err
	}
	return []row{
		versus("add-cpu", add, peerAdd, targetCPU),
		versus("add-cpu-exec", add, start, 0),
		versus("add-cpu-kernel", add, link, 0),
	}, nil
}

// cpuOf is the CPU time of an ADD, and a DEL to make room for the next.
func cpuOf(name string, p plugin, at *pod) (add, del *trial) {
	return &trial{name: name + " ADD", run: func() (time.Duration, error) { return p.addCPU(at) }},
		&trial{name: name + " DEL", run: func() (time.Duration, error) { return p.del(at) }}
}

// threadCPU is the CPU time of a function that stays on its thread.
func threadCPU(f func() error) (time.Duration, error) {
	before, err := threadClock()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := threadClock()
	return after - before, err
}

func threadClock() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0, fmt.Errorf("read the thread's CPU clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
