package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// report is what the file of -json holds.
type report struct {
	Machine machine `json:"machine"`
	Rows    []row   `json:"rows"`
}

// row is one comparison: medians and 90th percentiles in milliseconds, or sizes.
type row struct {
	Name      string  `json:"name"`
	Peer      string  `json:"peer"`
	OursMS    float64 `json:"ours_ms,omitempty"`
	PeerMS    float64 `json:"peer_ms,omitempty"`
	Ratio     float64 `json:"ratio"` // of the medians, ours to the peer's
	Target    float64 `json:"target,omitempty"`
	Pairs     int     `json:"pairs,omitempty"`
	OursP90MS float64 `json:"ours_p90_ms,omitempty"`
	PeerP90MS float64 `json:"peer_p90_ms,omitempty"`
	OursBytes int64   `json:"ours_bytes,omitempty"`
	PeerBytes int64   `json:"peer_bytes,omitempty"`
}

// versus makes the row of two trials that took turns. A target of 0 is none.
func versus(name string, ours, peer *trial, target float64) row {
	o, p := median(ours.times), median(peer.times)
	return row{
		Name: name, Peer: peer.name,
		OursMS: milliseconds(o), PeerMS: milliseconds(p), Ratio: float64(o) / float64(p), Target: target,
		Pairs:     len(ours.times),
		OursP90MS: milliseconds(percentile(ours.times, 90)), PeerP90MS: milliseconds(percentile(peer.times, 90)),
	}
}

func (r row) verdict() string {
	switch {
	case r.Target == 0:
		return "-"
	case r.Ratio <= r.Target:
		return "ok"
	}
	return "over"
}

func (r row) target() string {
	if r.Target == 0 {
		return "-"
	}
	return fmt.Sprintf("≤ %.2f", r.Target)
}

// line gives the columns of the table.
func (r row) line() string {
	ours, peer, p90 := fmt.Sprintf("%.2f ms", r.OursMS), fmt.Sprintf("%.2f ms", r.PeerMS), fmt.Sprintf("%.2f / %.2f", r.OursP90MS, r.PeerP90MS)
	if r.OursBytes > 0 {
		ours, peer, p90 = fmt.Sprintf("%d B", r.OursBytes), fmt.Sprintf("%d B", r.PeerBytes), "-"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%.2f\t%s\t%s\t%d\t%s\t%s\n", r.Name, ours, peer, r.Ratio, r.target(), r.verdict(), r.Pairs, p90, r.Peer)
}

func (r report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "row\tours\tpeer\tratio\ttarget\t\tpairs\tp90\tpeer is\n")
	for _, row := range r.Rows {
		fmt.Fprint(t, row.line())
	}
	t.Flush()
}

func (r report) write(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
