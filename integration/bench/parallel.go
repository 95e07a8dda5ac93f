package main

import (
	"errors"
	"sync"
	"time"
)

// A batch is so many ADDs by so many workers at once.
const (
	workers   = 16
	batchSize = 64
)

// measureParallel compares the wall time of a batch of ADDs, divided by their
// number. The batch is detached again before the other's turn.
func measureParallel(b *bench) ([]row, error) {
	w, ours, peer, err := b.rivals(batchSize, b.ptpIn)
	if err != nil {
		return nil, err
	}
	ourBatch := &trial{name: "vnet", run: func() (time.Duration, error) { return w.batch(ours) }}
	peerBatch := &trial{name: "ptp", run: func() (time.Duration, error) { return w.batch(peer) }}
	if err := inTurn(b.ctx, b.roundsOf(10), []*trial{ourBatch, peerBatch}); err != nil {
		return nil, err
	}
	return []row{versus("add-parallel", ourBatch, peerBatch, targetParallel)}, nil
}

// batch attaches all pods and returns the time for each, then detaches them.
func (w *world) batch(p plugin) (time.Duration, error) {
	took, err := w.onAll(p.add)
	if err != nil {
		return 0, err
	}
	_, err = w.onAll(p.del)
	return took / time.Duration(len(w.pods)), err
}

// onAll runs a verb on every pod and returns the wall time. Workers are on the
// node before the clock starts.
func (w *world) onAll(verb func(*pod) (time.Duration, error)) (time.Duration, error) {
	queue := make(chan *pod, len(w.pods))
	var ready, done sync.WaitGroup
	var errs [workers]error
	for i := range workers {
		ready.Add(1)
		done.Go(func() {
			errs[i] = w.node.do(func() error {
				ready.Done()
				return drain(queue, verb)
			})
		})
	}
	ready.Wait()
	return stopwatch(func() error {
		for _, p := range w.pods {
			queue <- p
		}
		close(queue)
		done.Wait()
		return errors.Join(errs[:]...)
	})
}

func drain(queue <-chan *pod, verb func(*pod) (time.Duration, error)) error {
	var errs []error
	for p := range queue {
		if _, err := verb(p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
