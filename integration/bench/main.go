// Command bench measures the plugins against their peers, the reference plugins
// ptp, bridge and host-local, and against what the kernel alone costs.
//
//	go run ./integration/bench [-json FILE] [-quick] [-rounds N] [ROW…]
//
// It runs the plugins as a runtime does, a process for each verb, in network
// namespaces of its own. What is compared takes turns, round by round, so that
// a busy machine slows both down. A ratio over its target is reported and fails
// nothing: the exit code is 1 only when something could not be measured.
//
// It knows namespaces, processes and clocks. It must not know how the plugins
// do their work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// The main goroutine keeps the main thread, so that nothing measured runs on it
// and /proc/self stays in the namespace that the program was started in.
func init() { runtime.LockOSThread() }

func main() {
	var o options
	flag.StringVar(&o.json, "json", "", "also write the rows to `FILE`")
	flag.BoolVar(&o.quick, "quick", false, "few rounds: does everything still run?")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of the cheap rows; dear ones take a fraction (default 100, with -quick 6)")
	flag.Usage = usage
	flag.Parse()
	o.rows = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./integration/bench [-json FILE] [-quick] [-rounds N] [ROW…]\n\nrows:",
		strings.Join(rowNames(), " "))
	flag.PrintDefaults()
}

// options are the command line.
type options struct {
	json   string
	quick  bool
	rounds int
	rows   []string // none: all
}

func (o options) roundsOf(weight int) int {
	rounds := o.rounds
	switch {
	case rounds > 0:
	case o.quick:
		rounds = 6
	default:
		rounds = 100
	}
	return max(rounds/weight, 2)
}

// wants tells whether one of the rows was asked for.
func (o options) wants(rows ...string) bool {
	return len(o.rows) == 0 || slices.ContainsFunc(rows, func(r string) bool { return slices.Contains(o.rows, r) })
}

func run(ctx context.Context, o options) error {
	for _, name := range o.rows {
		if !slices.Contains(rowNames(), name) {
			return fmt.Errorf("unknown row %q; there are %s", name, strings.Join(rowNames(), ", "))
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	programs, err := findPrograms()
	if err != nil {
		return err
	}
	b := &bench{ctx: ctx, options: o, programs: programs}
	defer b.removeDirs()
	if err := b.makeDirs(); err != nil {
		return err
	}

	r := report{Machine: machineFacts(programs)}
	r.Machine.print(os.Stdout)
	failed := b.measureAll(&r)
	r.print(os.Stdout)
	if o.json != "" {
		failed = errors.Join(failed, r.write(o.json))
	}
	return failed
}

// measureAll runs every experiment that has a wanted row. One that fails keeps
// the others from nothing.
func (b *bench) measureAll(r *report) error {
	var failed error
	for _, e := range experiments {
		if !b.wants(e.rows...) {
			continue
		}
		rows, err := e.measure(b)
		if b.ctx.Err() != nil {
			return errors.Join(failed, b.ctx.Err())
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", strings.Join(e.rows, ", "), err))
			continue
		}
		for _, row := range rows {
			if b.wants(row.Name) {
				r.Rows = append(r.Rows, row)
			}
		}
	}
	return failed
}
