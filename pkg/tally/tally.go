package tally

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"time"
)

// Verb is one of the verbs that are counted.
type Verb uint8

// The verbs of the CNI specification that do something.
const (
	Add Verb = iota
	Del
	Check
	Status
	GC
	verbs
)

// String returns the verb as CNI_COMMAND has it.
func (v Verb) String() string { return [...]string{"ADD", "DEL", "CHECK", "STATUS", "GC"}[v] }

// Bounds are the upper bounds, inclusive, of the buckets but the last, which has
// none. They are part of the file's layout and never change.
var Bounds = [...]time.Duration{
	1 * time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// Buckets is how many there are.
const Buckets = len(Bounds) + 1

func bucketOf(took time.Duration) int {
	for i, bound := range Bounds {
		if took <= bound {
			return i
		}
	}
	return len(Bounds)
}

// The codes that are counted each for itself: those of the CNI specification and
// the plugins' own (package cnierr, and room for more).
const (
	maxSpec  = 11
	statusIs = 50
	minOwn   = 100
	maxOwn   = 127

	codes = maxSpec + 1 + (maxOwn - minOwn + 1) + 1 // the last is of all others
)

func codeSlot(code uint) int {
	switch {
	case code >= 1 && code <= maxSpec:
		return int(code) - 1
	case code == statusIs:
		return maxSpec
	case code >= minOwn && code <= maxOwn:
		return maxSpec + 1 + int(code) - minOwn
	}
	return codes - 1
}

// codeOf is the reverse of codeSlot.
func codeOf(slot int) uint {
	switch {
	case slot < maxSpec:
		return uint(slot) + 1
	case slot == maxSpec:
		return statusIs
	case slot == codes-1:
		return Other
	}
	return uint(slot-maxSpec-1) + minOwn
}

// Observe counts a verb that took a while and ended with the error code; 0 is
// success. Nothing is counted where there is no state directory, which is no
// error. Nobody should do anything but look at an error: counting is not what the
// verb is for.
func Observe(stateDir, network string, v Verb, took time.Duration, code uint) error {
	err := withPage(stateDir, network, true, func(p *page) {
		of := &p.verbs[v]
		atomic.AddUint64(&of.sum, uint64(max(took, 0)))
		atomic.AddUint64(&of.buckets[bucketOf(took)], 1)
		if code != 0 {
			atomic.AddUint64(&of.codes[codeSlot(code)], 1)
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Counts is what was counted in a network; a Verb indexes Verbs.
type Counts struct{ Verbs [verbs]VerbCounts }

// VerbCounts is what was counted of one verb.
type VerbCounts struct {
	Verb    Verb
	Count   uint64          // how often it ended
	Sum     time.Duration   // how long all of them took
	Buckets [Buckets]uint64 // how many took no longer than the bound, and longer than the one before
	Errors  map[uint]uint64 // by their code, those that there were
}

// Other is the code under which errors with a code that is not counted for itself
// are: the catch-all of the CNI library, which the plugins never give.
const Other uint = 999

// Read returns what was counted in a network since the file was made; nothing
// where there is none. Numbers only grow, unless the file was lost: it does not
// outlive the state directory.
func Read(stateDir, network string) (Counts, error) {
	c := Counts{}
	read := func(p *page) {
		for v := range c.Verbs {
			c.Verbs[v] = p.verbs[v].read(Verb(v))
		}
	}
	err := withPage(stateDir, network, false, read)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errForeign) {
		read(&page{})
		return c, nil
	}
	return c, err
}

func (of *verbPage) read(v Verb) VerbCounts {
	c := VerbCounts{Verb: v, Sum: time.Duration(atomic.LoadUint64(&of.sum)), Errors: map[uint]uint64{}}
	for i := range of.buckets {
		c.Buckets[i] = atomic.LoadUint64(&of.buckets[i])
		c.Count += c.Buckets[i] // so that the two agree
	}
	for i := range of.codes {
		if n := atomic.LoadUint64(&of.codes[i]); n > 0 {
			c.Errors[codeOf(i)] = n
		}
	}
	return c
}
