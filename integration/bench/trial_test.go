package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	cases := []struct {
		times       []time.Duration
		median, p90 time.Duration
	}{
		{[]time.Duration{7}, 7, 7},
		{[]time.Duration{9, 1}, 5, 9},
		{[]time.Duration{3, 1, 2}, 2, 3},
		{[]time.Duration{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 5, 9},
	}
	for _, c := range cases {
		before := len(c.times)
		if m, p := median(c.times), percentile(c.times, 90); m != c.median || p != c.p90 || len(c.times) != before {
			t.Errorf("%v: median %d, p90 %d; want %d, %d", c.times, m, p, c.median, c.p90)
		}
	}
	t.Logf("%d series", len(cases))
}

// recorder makes trials that write their name down.
func recorder(log *[]string, name string, err error) *trial {
	return &trial{name: name, run: func() (time.Duration, error) {
		*log = append(*log, name)
		return time.Millisecond, err
	}}
}

func TestInTurn(t *testing.T) {
	var log []string
	a, b, c := recorder(&log, "a", nil), recorder(&log, "b", nil), recorder(&log, "c", nil)
	if err := inTurn(context.Background(), 2, []*trial{a, b}, []*trial{c}); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(log, ""), "abc"+"bac"+"abc"+"bac"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	if len(a.times) != 2 || len(b.times) != 2 || len(c.times) != 2 {
		t.Errorf("%d, %d, %d times kept; want 2 of each", len(a.times), len(b.times), len(c.times))
	}
	t.Logf("%d calls", len(log))
}

func TestInTurnStops(t *testing.T) {
	var log []string
	broken := errors.New("broken")
	err := inTurn(context.Background(), 5, []*trial{recorder(&log, "a", broken), recorder(&log, "b", nil)})
	if !errors.Is(err, broken) || len(log) != 1 {
		t.Errorf("%v after %d calls", err, len(log))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := inTurn(ctx, 5, []*trial{recorder(&log, "c", nil)}); !errors.Is(err, context.Canceled) || len(log) != 1 {
		t.Errorf("%v after %d calls", err, len(log))
	}
	t.Logf("2 ways to stop")
}

func TestVersus(t *testing.T) {
	ours, peer := &trial{times: []time.Duration{2e6, 4e6}}, &trial{name: "peer", times: []time.Duration{12e6, 12e6}}
	r := versus("x", ours, peer, 0.2)
	if r.OursMS != 3 || r.PeerMS != 12 || r.Ratio != 0.25 || r.Pairs != 2 || r.OursP90MS != 4 || r.verdict() != "over" {
		t.Errorf("%+v: %s", r, r.verdict())
	}
	r.Target = 0.25
	if r.verdict() != "ok" {
		t.Errorf("%+v: %s", r, r.verdict())
	}
	t.Logf("2 verdicts")
}
