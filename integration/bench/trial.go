package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// trial is one thing that is measured over and over.
type trial struct {
	name string
	run  func() (time.Duration, error)

	times []time.Duration
}

// warmups are the rounds before the first that counts: the first call of a
// plugin makes what later ones find.
const warmups = 2

// inTurn runs rounds of trials. A round has phases, all trials of one before any
// of the next, as all ADDs before the DELs. Who goes first changes every round.
func inTurn(ctx context.Context, rounds int, phases ...[]*trial) error {
	for round := range warmups + rounds {
		for _, phase := range phases {
			for i := range phase {
				if err := ctx.Err(); err != nil {
					return err
				}
				t := phase[(i+round)%len(phase)]
				took, err := t.run()
				if err != nil {
					return fmt.Errorf("%s, round %d: %w", t.name, round, err)
				}
				if round >= warmups {
					t.times = append(t.times, took)
				}
			}
		}
	}
	return nil
}

// percentile is the nearest-rank percentile of at least one time.
func percentile(times []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	rank := (p*len(sorted) + 99) / 100
	return sorted[max(rank, 1)-1]
}

// median is the middle time, or the mean of the two in the middle.
func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// stopwatch times one call.
func stopwatch(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}
