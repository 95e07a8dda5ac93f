package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// budget is how long a change of a group may take, as a peer that never varies.
const budget = 300 * time.Millisecond

// measureJudgedAdd compares an ADD with a large group installed to one without.
func measureJudgedAdd(b *bench) ([]row, error) {
	w, err := newWorld(b.dir, 2)
	if err != nil {
		return nil, err
	}
	free, err := newWorld(b.dir, 2)
	if err != nil {
		return nil, err
	}
	document, err := w.document(group("subnet", realistic(1000)))
	if err != nil {
		return nil, err
	}
	judged, err := b.judgedIn(w, document)
	if err != nil {
		return nil, err
	}
	plain, err := b.oursIn(free)
	if err != nil {
		return nil, err
	}
	judgedAdd, judgedDel := w.verbs("1000 rules", judged, w.pods[0])
	plainAdd, plainDel := free.verbs("no group", plain, free.pods[0])
	if err := inTurn(b.ctx, b.roundsOf(1), []*trial{judgedAdd, plainAdd}, []*trial{judgedDel, plainDel}); err != nil {
		return nil, err
	}
	return []row{
		versus("add-1000-rules", judgedAdd, plainAdd, targetJudgedAdd),
		versus("del-1000-rules", judgedDel, plainDel, 0),
	}, nil
}

// verbs are a pod's, on the world's node.
func (w *world) verbs(name string, p plugin, at *pod) (add, del *trial) {
	onNode := func(verb func(*pod) (time.Duration, error)) func() (time.Duration, error) {
		return func() (took time.Duration, err error) {
			err = w.node.do(func() error {
				took, err = verb(at)
				return err
			})
			return took, err
		}
	}
	return &trial{name: name + " ADD", run: onNode(p.add)}, &trial{name: name + " DEL", run: onNode(p.del)}
}

// measureApply measures what a changed group of 1000 rules takes to be in force
// on a node with some pods, and the ADD of a pod that comes meanwhile.
func measureApply(b *bench) ([]row, error) {
	var rows []row
	for _, pods := range []int{1, 50, 250} {
		s, err := b.busyNode(pods)
		if err != nil {
			return nil, err
		}
		apply := &trial{name: fmt.Sprintf("apply beside %d pods", pods), run: s.change}
		limit := &trial{name: "the budget", run: func() (time.Duration, error) { return budget, nil }}
		if err := inTurn(b.ctx, b.roundsOf(10), []*trial{apply, limit}); err != nil {
			return nil, err
		}
		rows = append(rows, versus(fmt.Sprintf("apply-1000-rules-%d-pods", pods), apply, limit, 1))
		if pods < 250 {
			continue
		}
		meanwhile := &trial{name: "ADD meanwhile", run: s.addMeanwhile}
		alone := &trial{name: "ADD alone", run: s.addAlone}
		if err := inTurn(b.ctx, b.roundsOf(10), []*trial{meanwhile, alone}); err != nil {
			return nil, err
		}
		rows = append(rows, versus("add-during-apply", meanwhile, alone, 0))
	}
	return rows, nil
}

// busyNode is a node with pods under a group that changes.
type busyNode struct {
	*world
	bench    *bench
	judged   plugin
	document string
	changes  int
}

// busyNode attaches so many pods, and has one more that is not.
func (b *bench) busyNode(pods int) (*busyNode, error) {
	w, err := newWorld(b.dir, pods+1)
	if err != nil {
		return nil, err
	}
	s := &busyNode{world: w, bench: b}
	if err := s.write(); err != nil {
		return nil, err
	}
	if s.judged, err = b.judgedIn(w, s.document); err != nil {
		return nil, err
	}
	return s, w.node.do(func() error {
		for _, p := range w.pods[1:] {
			if _, err := s.judged.add(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// write writes the group with some other rules than before.
func (s *busyNode) write() (err error) {
	rules := realistic(1000)
	s.changes++
	for i := 0; i < len(rules); i += 7 {
		rules[i]["destinationPortRange"] = fmt.Sprint(20000 + i + s.changes)
	}
	s.document, err = s.world.document(group("subnet", rules))
	return err
}

// change writes other rules and puts them in force.
func (s *busyNode) change() (took time.Duration, err error) {
	if err := s.write(); err != nil {
		return 0, err
	}
	err = s.node.do(func() error {
		took, err = stopwatch(s.apply().Run)
		return err
	})
	return took, err
}

func (s *busyNode) apply() *exec.Cmd {
	return exec.Command(s.bench.vnetctl, "--state-dir", filepath.Join(s.dir, "vnet"), "apply")
}

func (s *busyNode) addAlone() (took time.Duration, err error) {
	err = s.node.do(func() error {
		if took, err = s.judged.add(s.pods[0]); err != nil {
			return err
		}
		_, err = s.judged.del(s.pods[0])
		return err
	})
	return took, err
}

// underWay is when a change has begun for certain, and is not over.
const underWay = 60 * time.Millisecond

// addMeanwhile attaches a pod while a change is on its way.
func (s *busyNode) addMeanwhile() (took time.Duration, err error) {
	if err := s.write(); err != nil {
		return 0, err
	}
	apply := s.apply()
	if err := s.node.do(apply.Start); err != nil {
		return 0, err
	}
	time.Sleep(underWay)
	took, err = s.addAlone()
	return took, errors.Join(err, apply.Wait())
}
